"""The generated files of `cpp/vulkan`: SPIR-V modules and `vulkan_api.h`."""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

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
    for shader in sorted((vulkan / "shaders").glob("*.comp")):
        files[Path("shaders") / f"{shader.stem}.spv"] = compile_shader(shader, tools)
    return files


def compile_shader(shader: Path, tools: Path) -> bytes:
    """Return the SPIR-V module of a GLSL compute shader, optimized and validated."""
    with TemporaryDirectory(prefix="mlc_llm-shader-") as scratch:
        module = Path(scratch, "module.spv")
        # Relative names: no path of this machine can get into the module.
        options = (f"--target-env={TARGET}", "-O", "-Werror", "-o", str(module))
        run_program(tools, "glslc", *options, shader.name, cwd=shader.parent)
        run_program(tools, "spirv-val", "--target-env", TARGET, str(module), cwd=shader.parent)
        return module.read_bytes()


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
