"""Cut GitHub's OpenAPI description down to what a release uses.

    npm pack @octokit/openapi && tar -xzf octokit-openapi-*.tgz
    python cut_openapi.py package

`openapi.json` beside this file is what it wrote: the operations below with all that they refer to,
examples left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

REPO = "/repos/{owner}/{repo}"
OPERATIONS = {
    f"{REPO}/releases": ("get", "post"),
    f"{REPO}/releases/tags/{{tag}}": ("get",),
    f"{REPO}/releases/{{release_id}}": ("patch", "delete"),
    f"{REPO}/releases/{{release_id}}/assets": ("get", "post"),
    f"{REPO}/releases/assets/{{asset_id}}": ("get", "delete"),
    f"{REPO}/git/ref/{{ref}}": ("get",),
    f"{REPO}/git/tags/{{tag_sha}}": ("get",),
}
UNUSED = {"example", "examples", "externalDocs", "x-github", "x-octokit"}


def without_examples(node: Any) -> Any:
    """Return `node` without what only documentation shows."""
    if isinstance(node, list):
        return [without_examples(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: without_examples(value) for key, value in node.items() if key not in UNUSED}


def references(node: Any) -> set[str]:
    """Return every `#/components/...` that `node` names."""
    if isinstance(node, list):
        return {name for item in node for name in references(item)}
    if not isinstance(node, dict):
        return set()
    found = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
    return found | {name for value in node.values() for name in references(value)}


def cut(whole: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the description that OPERATIONS need."""
    paths = {}
    for path, methods in OPERATIONS.items():
        shared = {key: value for key, value in whole["paths"][path].items() if key == "parameters"}
        paths[path] = shared | {method: whole["paths"][path][method] for method in methods}
    paths = {path: without_examples(item) for path, item in paths.items()}
    components: dict[str, dict[str, Any]] = {}
    wanted, seen = references(paths), set[str]()
    while wanted:
        name = wanted.pop()
        seen.add(name)
        _, _, kind, key = name.split("/")
        part = without_examples(whole["components"][kind][key])
        components.setdefault(kind, {})[key] = part
        wanted |= references(part) - seen
    return {
        "openapi": whole["openapi"],
        "info": {"title": whole["info"]["title"], "version": whole["info"]["version"]},
        "servers": whole["servers"],
        "paths": paths,
        "components": {
            kind: dict(sorted(parts.items())) for kind, parts in sorted(components.items())
        },
    }


def main() -> None:
    """Write openapi.json beside this file."""
    package = Path(sys.argv[1])
    whole = json.loads((package / "generated/api.github.com.json").read_text(encoding="utf-8"))
    document = cut(whole)
    document["info"] |= {
        "license": {"name": "MIT"},
        "x-source": f"@octokit/openapi {whole['info']['version']} of the npm registry, cut by "
        "cut_openapi.py",
        "x-license-text": (package / "LICENSE").read_text(encoding="utf-8").strip().splitlines(),
    }
    target = Path(__file__).with_name("openapi.json")
    target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
