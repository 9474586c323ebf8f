"""Debian's docker-registry on this machine, with TLS and a password, as a registry elsewhere."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER, PASSWORD = "robot", "open-sesame"
HASH = "$2y$04$hhI3cKvbt.03.RyJiBUI5eKzVa/ooQVoZNpptYiR.60tjGCSCxk6S"  # bcrypt, of PASSWORD
LOGIN = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@dataclass(frozen=True)
class Server:
    """Where the registry is, and what a client needs to use it."""

    host: str
    certificate: Path
    auth_file: Path

    @property
    def environ(self) -> dict[str, str]:
        """What a shell would have after `podman login`, with the certificate trusted."""
        return {
            "SSL_CERT_FILE": str(self.certificate),
            "REGISTRY_AUTH_FILE": str(self.auth_file),
        }


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Run a registry that keeps its images in `folder`, on a port of the system's choice."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=loopback"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    (folder / "users").write_text(f"{USER}:{HASH}\n")
    settings = {
        "version": "0.1",
        "log": {"accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {
            "addr": "127.0.0.1:0",
            "tls": {"certificate": str(certificate), "key": str(key)},
        },
        "auth": {"htpasswd": {"realm": "loopback", "path": str(folder / "users")}},
    }
    (folder / "config.yml").write_text(json.dumps(settings))  # JSON is YAML
    command = ["docker-registry", "serve", str(folder / "config.yml")]
    with (
        (folder / "registry.log").open("w") as log,
        subprocess.Popen(command, stderr=subprocess.PIPE, stdout=log, text=True) as process,
    ):
        try:
            assert process.stderr
            found = (re.search(r"listening on (127\.0\.0\.1:\d+)", line) for line in process.stderr)
            host = next((match[1] for match in found if match), None)
            assert host, "docker-registry did not start"
            # A pipe that nobody empties would stop the registry in the middle.
            threading.Thread(target=log.writelines, args=[process.stderr], daemon=True).start()
            auth_file = folder / "auth.json"
            auth_file.write_text(json.dumps({"auths": {host: {"auth": LOGIN}}}))
            yield Server(host, certificate, auth_file)
        finally:
            process.terminate()
