"""What a workflow is told, and that nobody else is."""

from pathlib import Path

import pytest

from ci import github


def test_output_is_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = tmp_path / "output"
    outputs.write_text("before=1\n")
    monkeypatch.setenv("GITHUB_OUTPUT", str(outputs))
    github.set_output("image", "name@sha256:12")
    assert outputs.read_text() == "before=1\nimage=name@sha256:12\n"


@pytest.mark.parametrize(("variable", "shown"), [("", ""), ("true", "::error::it broke\n")])
def test_error_is_shown_in_a_workflow(
    variable: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", variable)
    github.show_error("it broke")
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize(
    ("variable", "address"), [("", ""), ("true", "https://git.example/owner/name/actions/runs/7")]
)
def test_run_has_an_address_in_a_workflow(
    variable: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", variable)
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://git.example")
    monkeypatch.setenv("GITHUB_REPOSITORY", "owner/name")
    monkeypatch.setenv("GITHUB_RUN_ID", "7")
    assert github.run_address() == address
