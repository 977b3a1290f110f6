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

__all__ = ["BROKEN_PIPE", "ending_quietly"]

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
        if not _means_closed(error):
            raise
        # What is still in the buffer would be tried again.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(BROKEN_PIPE) from error


def _means_closed(error: OSError) -> bool:
    # Windows has no word of its own for it.
    return isinstance(error, BrokenPipeError) or (
        sys.platform == "win32" and error.errno == errno.EINVAL
    )
