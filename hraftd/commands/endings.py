"""
How a command can end.

Scripts tell by the status what has become of their request, without reading a word; so
these numbers stay what they are. A command that is done returns :data:`DONE`, any other
end is a :class:`Stop`. Besides there is :data:`hraftd.closed_pipe.BROKEN_PIPE`.
"""

from __future__ import annotations

__all__ = [
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "NOT_SO",
    "UNAVAILABLE",
    "UNKNOWN",
    "USAGE",
    "Stop",
]

#: It is done.
DONE = 0
#: It was refused, or has failed; nothing has happened.
FAILED = 1
#: The command line is wrong; nothing was asked.
USAGE = 2
#: There is no such key, or the condition does not hold; nothing has happened.
NOT_SO = 3
#: It may have happened, may still happen, or may never.
UNKNOWN = 4
#: No node was reached, or the cluster cannot do it now; nothing has happened.
UNAVAILABLE = 5
#: Ctrl-C, as shells count it: 128 and the number of the signal.
INTERRUPTED = 130


class Stop(Exception):
    """
    The end of a command that is not done, with a line for the one who typed it.
    """

    def __init__(self, status: int, line: str) -> None:
        """
        End with that status, and say this; nothing if it is empty.
        """
        super().__init__(line)
        self.status = status
        self.line = line
