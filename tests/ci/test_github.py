"""What a workflow is told, and that nobody else is."""

from pathlib import Path

import nox
import pytest
from nox.command import CommandFailed

import noxfile
from ci import github


def test_output_is_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = tmp_path / "output"
    outputs.write_text("before=1\n")
    monkeypatch.setenv("GITHUB_OUTPUT", str(outputs))
    github.set_output("image", "name@sha256:12")
    assert outputs.read_text() == "before=1\nimage=name@sha256:12\n"


class FailingSession:
    """A session whose only command fails."""

    name = "wheels"
    posargs = ("--lane", "a lane")

    def run(self, *_: str, **__: object) -> None:
        raise CommandFailed


@pytest.mark.parametrize("variables", [{}, {"GITHUB_ACTIONS": "true", "GITHUB_SHA": "c0ffee"}])
def test_failure_in_a_workflow_says_how_to_have_it_again(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    session: nox.Session = FailingSession()  # type: ignore[assignment]
    with pytest.raises(CommandFailed):
        noxfile.run(session, "wheels")
    printed = capsys.readouterr().out
    assert printed == (
        "::error::To run this again anywhere, at commit c0ffee: "
        "python3 noxfile.py -s wheels -- --lane 'a lane'\n"
        if variables
        else ""
    )
