"""
What a program does when nobody reads its output any more: it ends, and says nothing.

``head`` closes its end of a pipe as soon as it has seen enough. Whoever writes on gets
:exc:`BrokenPipeError`, at the latest when Python writes what is left, at its very end,
where nobody could catch it.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BROKEN_PIPE", "ending_quietly", "leave_unwritten", "means_closed"]

#: The status of such a process: what a shell makes of SIGPIPE, by which programs that
#: are not written in Python end.
BROKEN_PIPE = 141


@contextmanager
def ending_quietly() -> Iterator[None]:
    """
    Do what a program does from first to last.

    :raises SystemExit: if its output was closed.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        if not means_closed(error):
            raise
        leave_unwritten()
        raise SystemExit(BROKEN_PIPE) from error


def leave_unwritten() -> None:
    """
    Forget what is still in the buffer, which would be tried again at the end.
    """
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def means_closed(error: OSError) -> bool:
    """
    Tell an output that nobody reads from one that cannot be written.
    """
    # Windows has no word of its own for it.
    return isinstance(error, BrokenPipeError) or (
        sys.platform == "win32" and error.errno == errno.EINVAL
    )
