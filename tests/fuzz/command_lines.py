"""
Words at the parsers of the command line.

Whatever they are, they mean a node or a recovery, or show help, or end the process with
one line and status 1.
"""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from random import Random
from typing import TYPE_CHECKING
from unittest.mock import patch

from hraftd.cli import RecoverOptions, with_double_dashes
from hraftd.tap import Options

from .mutation import mutated
from .watching import attempt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.python import usage

__all__ = ["parse_at_random"]

_NAMES = [name for name, *_ in (*Options.optParameters, *Options.optFlags)]

_WORDS = [
    *(f"--{name}" for name in _NAMES),
    *(f"-{name}" for name in _NAMES),
    *("--help", "-h", "--version", "--yes", "--", "-", "", "recover", "-n", "--id=x"),
]

_VALUES = [
    *("node0", "localhost:11000", ":0", ":11000", "0.0.0.0:80", "[::]:1", "[::1]:12"),
    *("tcp:80", "tcp:port=80:interface=\\:\\:1", "unix:/x", "ssl:1", "tcp:", "a:b"),
    *("error", "redirect", "forward", "none", "auto", "strong", "-1", "0", "1e3", "²"),
    *("9" * 5000, "a,b:1,c:2", ",", "~", "~nobody.of.this.name/x", "a\nb", "\0", "\t"),
    *("\ud800", "é", "\u2028", "x" * 300, "%s", "{}", "--id", "data", "/", ".", " "),
]


def _words(rng: Random) -> list[str]:
    words: list[str] = []
    for _ in range(rng.choice((0, 1, 1, 2, 3, 5))):
        word = rng.choice(_WORDS)
        if rng.random() < 0.5:
            word = f"--{rng.choice(_NAMES)}"
        value = rng.choice(_VALUES)
        if rng.random() < 0.1:
            word = _changed(rng, word)
        if rng.random() < 0.2:
            value = _changed(rng, value)
        match rng.randrange(3):
            case 0:
                words.append(word)
            case 1:
                words.append(f"{word}={value}")
            case _:
                words += (word, value)
    if rng.random() < 0.2:
        words.append(rng.choice(_VALUES))
    return words


def _changed(rng: Random, word: str) -> str:
    """
    Return another word, as the system would hand it over: also of broken text.
    """
    data = mutated(rng, word.encode("utf-8", "surrogatepass"))
    return data.decode("utf-8", "surrogateescape")


def parse_at_random(seed: int, attempts: int, first: int = 0) -> int:
    """
    Parse so many command lines; return how many of them would run something.
    """
    run = 0
    for number in range(first, first + attempts):
        rng = Random(f"{seed} {number}")
        words = _words(rng)
        with attempt(seed, number, words):
            is_node = rng.random() < 0.8
            run += _parses(words, is_node=is_node)
    return run


def _parses(words: Sequence[str], *, is_node: bool) -> bool:
    options = Options() if is_node else RecoverOptions()
    given = with_double_dashes(words) if is_node else list(words)
    shown, code = _parsed(options, given)
    if code == "runs":
        assert not shown
        return not isinstance(options, Options) or options.settings is not None
    if isinstance(code, str):
        # Python prints it, and ends with status 1.
        assert code.startswith("hraftd"), code
        assert code.isprintable(), code
        assert not shown
    else:
        # Help, or the version.
        assert not code
        assert shown
    return False


def _parsed(options: usage.Options, words: list[str]) -> tuple[str, object]:
    """
    Return what was shown and how the process would have ended.
    """
    shown = io.StringIO()
    # There is a version only of what is installed.
    version = patch("hraftd.options.version", return_value="0")
    try:
        with redirect_stdout(shown), redirect_stderr(shown), version:
            options.parseOptions(words)
    except SystemExit as ended:
        return shown.getvalue(), ended.code
    return shown.getvalue(), "runs"
