from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest

from ci import debian, shaders
from ci.debian import Package, PackageSet, find_archive, find_mirror
from ci.errors import FactoryError
from ci.paths import ROOT
from ci.shaders import Module, list_modules
from ci.toml import read_toml
from ci.vulkan_api import generate_header, mentioned_names

VULKAN = ROOT / "cpp" / "vulkan"
REGISTRY = """\
<registry>
  <types>
    <type category="define">#define <name>VK_HEADER_VERSION</name> 7</type>
    <type category="handle"><type>VK_DEFINE_HANDLE</type>(<name>VkDevice</name>)</type>
    <type name="VkResult" category="enum"/>
    <type name="VkStructureType" category="enum"/>
    <type category="struct" name="VkLayer"><member><type>float</type> <name>f</name></member></type>
    <type category="struct" name="VkThing">
      <member values="VK_STRUCTURE_TYPE_THING">
        <type>VkStructureType</type> <name>sType</name></member>
      <member>const <type>VkLayer</type>* <name>pLayer</name><comment>no code</comment></member>
      <member api="vulkansc"><type>float</type> <name>other</name></member>
      <member><type>char</type> <name>name</name>[<enum>VK_MAX_NAME</enum>]</member>
    </type>
  </types>
  <enums name="API Constants"><enum type="uint32_t" value="256" name="VK_MAX_NAME"/></enums>
  <enums name="VkResult" type="enum">
    <enum value="0" name="VK_SUCCESS"/><enum value="1" name="VK_NOT_READY"/></enums>
  <commands>
    <command><proto><type>VkResult</type> <name>vkUse</name></proto>
      <param><type>VkDevice</type> <name>device</name></param>
      <param>const <type>VkThing</type>* <name>pThing</name></param></command>
  </commands>
  <extensions><extension number="3"><require>
    <enum offset="4" extends="VkStructureType" name="VK_STRUCTURE_TYPE_THING"/>
    <enum offset="1" dir="-" extends="VkResult" name="VK_ERROR_WORN"/>
  </require></extension></extensions>
</registry>
"""


def header(*names: str) -> str:
    return generate_header(REGISTRY, set(names))


def test_names_in_comments_and_strings_are_not_mentioned() -> None:
    source = 'Use(vkUse, VK_NOT); // vkComment\nf("vkString"); PFN_vkType p; // VK_X\nVkThing t;'
    assert mentioned_names([source]) == {"vkUse", "VK_NOT", "PFN_vkType", "VkThing"}


def test_a_command_of_an_extension_may_be_missing() -> None:
    assert 'return "vkUse"' in header("vkUse")
    registry = REGISTRY.replace("<require>\n", '<require><command name="vkUse"/>\n')
    assert "vkUse = reinterpret_cast" in generate_header(registry, {"vkUse"})
    assert 'return "vkUse"' not in generate_header(registry, {"vkUse"})


def test_a_struct_brings_its_type_value_and_constants() -> None:
    text = header("VkThing")
    assert "VkStructureType sType = VK_STRUCTURE_TYPE_THING;" in text
    assert "VK_STRUCTURE_TYPE_THING = 1000002004," in text
    assert "VK_MAX_NAME = 256;" in text
    assert "char name[VK_MAX_NAME]{};" in text


def test_a_struct_behind_a_pointer_is_only_named() -> None:
    assert "struct VkLayer;" in header("VkThing")
    assert "struct VkLayer {" not in header("VkThing")
    assert "struct VkLayer {" in header("VkThing", "VkLayer")


def test_members_of_vulkan_sc_are_left_out() -> None:
    assert "other" not in header("VkThing")


def test_only_the_enumerators_in_use_are_declared() -> None:
    text = header("VK_SUCCESS", "VK_ERROR_WORN")
    assert "VK_ERROR_WORN = -1000002001," in text
    assert "VK_NOT_READY" not in text


def test_a_command_is_loaded_at_its_level() -> None:
    table = header("vkUse").partition("struct DeviceFunctions")[2]
    assert 'find("vkUse")' in table


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(FactoryError, match="does not have: vkMistyped"):
        header("vkMistyped")


WANTED = {Path("vulkan_api.h"): b"api", Path("shaders/a.spv"): b"spirv"}


@pytest.fixture
def vulkan(tmp_path: Path) -> Path:
    """A folder whose generated files are up to date."""
    (tmp_path / "shaders").mkdir()
    shaders.write_files(tmp_path, WANTED)
    return tmp_path


def test_files_that_are_up_to_date_pass(vulkan: Path) -> None:
    shaders.check_files(vulkan, WANTED)


@pytest.mark.parametrize("name", ["vulkan_api.h", "shaders/a.spv", "shaders/stale.spv"])
def test_a_difference_is_named_and_repaired(vulkan: Path, name: str) -> None:
    (vulkan / name).write_bytes(b"edited by hand")
    with pytest.raises(FactoryError, match=name):
        shaders.check_files(vulkan, WANTED)
    shaders.write_files(vulkan, WANTED)
    shaders.check_files(vulkan, WANTED)


def test_a_missing_file_is_a_difference(vulkan: Path) -> None:
    (vulkan / "shaders/a.spv").unlink()
    with pytest.raises(FactoryError, match=r"shaders/a\.spv"):
        shaders.check_files(vulkan, WANTED)


def test_every_committed_module_has_a_shader() -> None:
    folder = VULKAN / "shaders"
    modules = list_modules(folder, read_toml(shaders.PINS).get("variants", {}))
    assert {path.stem for path in folder.glob("*.spv")} == {module.name for module in modules}


# By SPIR-V's numbers: what Vulkan 1.2 promises, and what the C++ asks for before it takes a module.
SHADER, SUBGROUPS = 1, 61
SHUFFLE = {SUBGROUPS, 65}
DOT = {6018, 6019}  # of four bytes in a word
MATRICES = {SUBGROUPS, 9, 5345, 6022}  # float16, Vulkan's memory model, cooperative matrices
CAPABILITIES = {
    "attend_matrix": MATRICES | SHUFFLE,
    "attend_one": SHUFFLE,
    "matmul_matrix_f16": MATRICES,
    "matmul_matrix_q4": MATRICES,
    "matvec_float": SHUFFLE,
    "matvec_q4": SHUFFLE | DOT,
}


@pytest.mark.parametrize("path", sorted((VULKAN / "shaders").glob("*.spv")), ids=lambda p: p.stem)
def test_a_module_declares_only_what_its_device_has(path: Path) -> None:
    content = path.read_bytes()
    words = struct.unpack(f"<{len(content) // 4}I", content)
    declared, at = set[int](), 5  # behind the header
    while words[at] == 2 << 16 | 17:  # OpCapability, first of all
        declared.add(words[at + 1])
        at += 2
    assert declared == {SHADER} | CAPABILITIES.get(path.stem, set())


def test_variants_take_the_place_of_their_shader(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.comp").touch()
    variants = {"a1": {"source": "a.comp", "define": ["N=1"]}}
    assert list_modules(tmp_path, variants) == [
        Module("b", tmp_path / "b.comp"),
        Module("a1", tmp_path / "a.comp", ("N=1",)),
    ]
    variants["c1"] = {"source": "c.comp", "define": []}
    with pytest.raises(FactoryError, match=r"not there: c\.comp"):
        list_modules(tmp_path, variants)


def test_a_package_with_another_hash_is_removed_from_the_cache(tmp_path: Path) -> None:
    archive = tmp_path / "tool_1_amd64.deb"
    archive.write_bytes(b"tampered")
    assert find_archive(tmp_path, Package("tool", "1", "0" * 64)) is None
    assert not archive.exists()


def test_a_package_with_the_pinned_hash_is_used(tmp_path: Path) -> None:
    archive = tmp_path / "tool_1_amd64.deb"
    archive.write_bytes(b"good")
    digest = hashlib.sha256(b"good").hexdigest()
    assert find_archive(tmp_path, Package("tool", "1", digest)) == archive


def test_a_fetched_package_with_another_hash_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(_packages: PackageSet, archives: Path) -> None:
        (archives / "tool_1_amd64.deb").write_bytes(b"tampered")

    monkeypatch.setattr(debian, "fetch", fetch)
    packages = PackageSet("suite", (Package("tool", "1", "0" * 64),))
    with (
        pytest.raises(FactoryError, match="does not have the pinned sha256"),
        debian.unpacked(packages, tmp_path),
    ):
        pass


def test_the_mirror_is_the_one_of_the_machines_own_suite() -> None:
    targets = "mirror://a/ old-updates main\nmirror://b/ old contrib\nmirror://c/ old main\n"
    assert find_mirror(targets, "old") == "mirror://c/"


def test_a_machine_without_debian_sources_is_told_what_to_do() -> None:
    with pytest.raises(FactoryError, match=r"use the committed SPIR-V.*nox -s shaders"):
        find_mirror("", "")


def test_the_pins_are_complete() -> None:
    packages = PackageSet.from_table(read_toml(shaders.PINS)).packages
    pinned = {package.name for package in packages if len(package.sha256) == 64}
    assert pinned == {"glslc", "libshaderc1", "spirv-tools", "libvulkan-dev"}
