"""The generated files of `cpp/vulkan`: SPIR-V modules and `vulkan_api.h`."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ci.debian import PackageSet, run_program, unpacked
from ci.errors import FactoryError
from ci.paths import ROOT, cache_dir
from ci.session import run_session
from ci.toml import read_toml
from ci.vulkan_api import generate_header, mentioned_names

PINS = Path(__file__).with_name("shaders.toml")
REGISTRY = Path("usr/share/vulkan/registry/vk.xml")
TARGET = "vulkan1.2"


def main(argv: list[str]) -> int:
    """Regenerate the files, or with --check compare them; returns the exit status."""
    parser = argparse.ArgumentParser(prog="nox -s shaders --", description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail on a difference, write nothing")
    check = parser.parse_args(argv).check
    vulkan = ROOT / "cpp" / "vulkan"
    with unpacked(PackageSet.from_table(read_toml(PINS)), cache_dir()) as tools:
        wanted = generate(vulkan, tools)
    if check:
        check_files(vulkan, wanted)
    else:
        write_files(vulkan, wanted)
    print(f"{len(wanted)} generated files in cpp/vulkan are up to date.")
    return 0


def generate(vulkan: Path, tools: Path) -> dict[Path, bytes]:
    """Return every generated file, by its path in `vulkan`, made with the unpacked `tools`."""
    sources = [
        path.read_text(encoding="utf-8")
        for path in sorted((*vulkan.glob("*.h"), *vulkan.glob("*.cc")))
        if path.name != "vulkan_api.h"
    ]
    registry = (tools / REGISTRY).read_text(encoding="utf-8")
    header = generate_header(registry, mentioned_names(sources))
    files = {Path("vulkan_api.h"): header.encode()}
    modules = list_modules(vulkan / "shaders", read_toml(PINS).get("variants", {}))
    with ThreadPoolExecutor() as pool:
        compiled = pool.map(lambda module: compile_shader(module, tools), modules)
        for module, content in zip(modules, compiled, strict=True):
            files[Path("shaders") / f"{module.name}.spv"] = content
    return files


@dataclass(frozen=True)
class Module:
    """A SPIR-V module to be made of `shader` with preprocessor definitions."""

    name: str
    shader: Path
    define: tuple[str, ...] = ()


def list_modules(folder: Path, variants: dict[str, Any]) -> list[Module]:
    """Return the variants of the table, and one module for each other shader of `folder`."""
    modules = [
        Module(name, folder / row["source"], tuple(row["define"]))
        for name, row in sorted(variants.items())
    ]
    used = {module.shader for module in modules}
    if missing := sorted(path.name for path in used if not path.is_file()):
        raise FactoryError(
            f"ci/shaders.toml has variants of shaders that are not there: {', '.join(missing)}.",
            hint="Correct `source`, or take the variants out.",
        )
    shaders = set(folder.glob("*.comp")) - used
    return [Module(shader.stem, shader) for shader in sorted(shaders)] + modules


def compile_shader(module: Module, tools: Path) -> bytes:
    """Return the SPIR-V of a GLSL compute shader, optimized and validated."""
    with TemporaryDirectory(prefix="mlc_llm-shader-") as scratch:
        output = Path(scratch, "module.spv")
        # Relative names: no path of this machine can get into the module.
        options = (f"--target-env={TARGET}", "-O", "-Werror", "-o", str(output))
        defines = (f"-D{define}" for define in module.define)
        folder = module.shader.parent
        run_program(tools, "glslc", *options, *defines, module.shader.name, cwd=folder)
        run_program(tools, "spirv-val", "--target-env", TARGET, str(output), cwd=folder)
        return output.read_bytes()


def changed_files(vulkan: Path, wanted: dict[Path, bytes]) -> list[str]:
    """Return the names of the files that differ from `wanted`, are missing, or have no source."""
    stale = {path.relative_to(vulkan) for path in vulkan.glob("shaders/*.spv")} - wanted.keys()
    changed = {
        name
        for name, content in wanted.items()
        if not (vulkan / name).is_file() or (vulkan / name).read_bytes() != content
    }
    return sorted(name.as_posix() for name in stale | changed)


def check_files(vulkan: Path, wanted: dict[Path, bytes]) -> None:
    """Raise FactoryError when a committed file is not what its source gives."""
    if changed := changed_files(vulkan, wanted):
        raise FactoryError(
            f"generated files in cpp/vulkan differ from their sources: {', '.join(changed)}.",
            hint="Run `nox -s shaders` and commit what it writes.",
        )


def write_files(vulkan: Path, wanted: dict[Path, bytes]) -> None:
    """Bring the generated files up to date and remove those without a source."""
    for changed in changed_files(vulkan, wanted):
        name = Path(changed)
        if name in wanted:
            (vulkan / name).write_bytes(wanted[name])
        else:
            (vulkan / name).unlink()
        print(f"cpp/vulkan/{changed}")


if __name__ == "__main__":
    run_session(main)
