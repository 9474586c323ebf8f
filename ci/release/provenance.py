"""An in-toto statement with SLSA provenance: which files, from which commit, locks and images.

Nothing in it changes from one run to the next, so that any run of a tag can finish its release. It
is not signed here: in a workflow, GitHub's own action signs the same files, and says in which run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ci.manifest import Manifest, hash_file
from ci.release.plan import Asset

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"


def make_provenance(
    manifest: Manifest,
    assets: Iterable[Asset],
    locks: Iterable[Path],
    *,
    tag: str,
    url: str,
    environ: Mapping[str, str],
) -> bytes:
    """Return the statement about `assets`; `url` is the repository's, empty where it has none."""
    workflow = environ.get("GITHUB_WORKFLOW_REF")
    server = environ.get("GITHUB_SERVER_URL", "https://github.com")
    images = sorted({(w.lane, w.image) for w in manifest.wheels if w.image})
    materials: list[dict[str, Any]] = [
        {
            **({"uri": f"git+{url}@refs/tags/{tag}"} if url else {"name": f"refs/tags/{tag}"}),
            "digest": {"gitCommit": manifest.commit},
        },
        *(
            {"name": f"ci/locks/{lock.name}", "digest": {"sha256": hash_file(lock)}}
            for lock in locks
        ),
        *(
            {"name": f"build image of {lane}", "digest": {"sha256": image.partition(":")[2]}}
            for lane, image in images
        ),
    ]
    builder = {"id": f"{server}/{workflow}" if workflow else "local"}
    definition = {
        "buildType": f"{url}/blob/{tag}/docs/release.md" if url else "docs/release.md",
        "externalParameters": {"tag": tag, "repository": url},
        "internalParameters": {"lanes": {w.lane: w.engine for w in manifest.wheels}},
        "resolvedDependencies": materials,
    }
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": asset.name, "digest": {"sha256": asset.sha256}} for asset in assets],
        "predicateType": PREDICATE,
        "predicate": {"buildDefinition": definition, "runDetails": {"builder": builder}},
    }
    return (json.dumps(statement, indent=2) + "\n").encode()
