"""
Where a command writes: tables and colours for people, plain text and JSON for scripts.

What comes from the cluster may hold anything, control characters of a terminal
included. Nothing is shown but what can be printed; the rest becomes an escape. JSON and
``hraftd get`` in a pipe are exact.

A reader that goes away, as ``head`` does, is a :exc:`BrokenPipeError` to whoever
writes; :mod:`hraftd.closed_pipe` ends the process then. Where the output cannot be
written for another reason, as on a full disk, that is :exc:`NotWritten`.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from attrs import define, field
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hraftd.closed_pipe import means_closed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["NotWritten", "Screen", "in_words", "shown", "writing"]

#: Characters of a cell that any terminal could show.
_LONGEST_CELL = 1_000

#: Columns of a terminal that the last column of a table has at least.
_LEAST = 12

#: Between two columns.
_GAP = "  "


def shown(text: str, keep: str = "") -> str:
    """
    Make everything an escape that cannot be printed, but for what is to be kept.
    """
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or letter in keep
        else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def in_words(keys: object) -> str:
    """
    Say how many keys there are.
    """
    return f"{keys} key" if keys == 1 else f"{keys} keys"


class NotWritten(OSError):
    """
    The output cannot be written.
    """


@contextmanager
def writing() -> Iterator[None]:
    """
    Write to the standard output.

    :raises NotWritten: if that does not work.
    :raises BrokenPipeError: if nobody reads it any more.
    """
    try:
        yield
    except OSError as error:
        if means_closed(error):
            raise
        raise NotWritten(error.errno, error.strerror) from error


class _Console(Console):
    """
    A console that leaves it to others what a closed pipe means.
    """

    def on_broken_pipe(self) -> NoReturn:
        """
        Go on failing.
        """
        raise


def _standard_output() -> TextIO:
    return sys.stdout or _nowhere()


def _standard_error() -> TextIO:
    return sys.stderr or _nowhere()


def _nowhere() -> TextIO:
    # In place of one that was closed before the process began.
    return Path(os.devnull).open("w", encoding="utf-8")


@define
class Screen:
    """
    The two outputs of a command.
    """

    out: TextIO = field(factory=_standard_output)
    err: TextIO = field(factory=_standard_error)
    _console: Console = field(init=False)

    def __attrs_post_init__(self) -> None:
        """
        Find out what the terminal can do, if it is one.
        """
        for stream in (self.out, self.err):
            if hasattr(stream, "reconfigure"):
                # A terminal or a file that cannot show a letter gets its number.
                stream.reconfigure(errors="backslashreplace")
        self._console = _Console(
            file=self.out,
            force_terminal=None if self.is_terminal else False,
            highlight=False,
            markup=False,
            emoji=False,
        )

    @property
    def is_terminal(self) -> bool:
        """
        Whether somebody looks at the output.
        """
        return self.out.isatty()

    def line(self, text: str) -> None:
        """
        Write a line for people.
        """
        with writing():
            self.out.write(f"{shown(text)}\n")
            self.out.flush()

    def error(self, text: str) -> None:
        """
        Write a line where it does not get into what a script reads.
        """
        self.err.write(f"{shown(text)}\n")
        self.err.flush()

    def exact(self, data: str) -> None:
        """
        Write this and nothing else, in UTF-8, whatever the locale is.
        """
        # A test's output has no bytes below.
        bytes_below = getattr(self.out, "buffer", None)
        with writing():
            if bytes_below is None:
                self.out.write(data)
            else:
                self.out.flush()
                bytes_below.write(data.encode())
            self.out.flush()

    def json(self, document: object) -> None:
        """
        Write a document, on a line of its own.
        """
        self.exact(json.dumps(document, ensure_ascii=False) + "\n")

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        marked: int | None = None,
    ) -> None:
        """
        Write a table; what is too wide for a terminal is cut off in its last column.

        :param columns: their heads; what stands below one that begins with ``>`` is
            aligned to the right.
        :param marked: the row that is emphasized.
        """
        cells = [
            ["-" if cell is None else shown(str(cell)) for cell in row] for row in rows
        ]
        with writing():
            if self.is_terminal:
                fitted = _fitted(columns, cells, marked, self._console.width)
                self._console.print(fitted)
            else:
                self.out.writelines(_plain(columns, cells))
            self.out.flush()

    def prefixed(self, prefix: str, style: str, text: str) -> None:
        """
        Write a line that somebody else has said, with a coloured name before it.
        """
        line = Text.assemble((prefix, style), shown(text, keep="\t"))
        with writing():
            self._console.print(line, soft_wrap=True)
            self.out.flush()


def _fitted(
    columns: Sequence[str], rows: list[list[str]], marked: int | None, width: int
) -> Table:
    """
    Return a table that fits a terminal.

    What does not is cut off in the last column; only where the others do not leave it
    any room, they are folded.
    """
    heads = [head.removeprefix(">") for head in columns]
    # A value may be a thousand times as long as any terminal is wide.
    short = [[cell[:_LONGEST_CELL] for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(heads, *short, strict=True)]
    left = width - sum(widths[:-1]) - len(_GAP) * (len(columns) - 1)
    table = Table(
        box=None, pad_edge=False, header_style="bold", padding=(0, len(_GAP), 0, 0)
    )
    last = len(columns) - 1
    for position, head in enumerate(columns):
        table.add_column(
            heads[position],
            justify="right" if head.startswith(">") else "left",
            no_wrap=position == last,
            overflow="ellipsis" if position == last else "fold",
            max_width=max(left, _LEAST) if position == last else None,
        )
    for number, row in enumerate(short):
        table.add_row(*map(Text, row), style="green" if number == marked else "")
    return table


def _plain(columns: Sequence[str], rows: list[list[str]]) -> Iterator[str]:
    """
    Yield the lines of a table in which nothing is cut off.

    The last column is not filled up with blanks: it may be very wide.
    """
    table = [[head.removeprefix(">") for head in columns], *rows]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = []
        for head, cell, width in zip(columns, row, widths, strict=True):
            blanks = " " * (width - cell_len(cell))
            cells.append(blanks + cell if head.startswith(">") else cell + blanks)
        cells[-1] = row[-1] if not columns[-1].startswith(">") else cells[-1]
        yield _GAP.join(cells).rstrip(" ") + "\n"
