"""
The transcripts are what really happens.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.script import Script

HERE = Path(__file__).parent
TRANSCRIPTS = sorted(path.name for path in HERE.glob("*.txt"))


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcript(name: str, request: pytest.FixtureRequest) -> None:
    """
    Each command comes to what is written below it.

    With ``--regenerate-scenarios`` it is written there.
    """
    path = HERE / name
    text = path.read_text(encoding="utf-8")
    played = Script().play(text)
    if request.config.getoption("--regenerate-scenarios"):
        path.write_text(played, encoding="utf-8")
    else:
        assert played.splitlines() == text.splitlines()


def test_there_are_transcripts() -> None:
    """
    Those of the paper's two figures among them.
    """
    assert {"figure_7.txt", "figure_8.txt"} <= set(TRANSCRIPTS)


def test_a_transcript_that_is_not_true_is_noticed() -> None:
    """
    What is written below a command is compared with what comes of it.
    """
    text = "Prose.\n\n> server a 1\n\n> start\nnonsense\n\nMore prose.\n"
    assert Script().play(text) == (
        "Prose.\n\n> server a 1\n\n> start\na starts and follows nobody in term 1\n\n"
        "More prose.\n"
    )


@pytest.mark.parametrize(
    "command",
    ["sing", "start slowly", "server a 1\n> start", "add a b sideways"],
)
def test_a_command_that_is_none_is_an_error(command: str) -> None:
    """
    A misspelt transcript does not pass for a short one.
    """
    with pytest.raises(
        ValueError, match=r"no command|do not start|empty line|not added"
    ):
        Script().play(f"> {command}\n")
