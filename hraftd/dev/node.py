"""
One node of ``hraftd dev``: an ordinary one that does not outlive who started it.

Its standard input is a pipe on which nothing is ever said. When that ends, the node
stops: because it is told to, or because the process that held the other end is gone,
even killed. So there are no orphans, and there is one way to stop on each system,
Windows included, which has no signals to send.
"""

from __future__ import annotations

import os
import sys
import threading

from hraftd import cli

__all__ = ["main"]

#: Seconds after which a node that was to stop in order ends in any case. A node that
#: stops hands over and lets writes finish, which takes up to three.
_LAST = 20.0


def main() -> None:
    """
    Run the node whose options stand on the command line.
    """
    threading.Thread(target=_end_with_the_pipe, daemon=True).start()
    sys.argv[0] = "hraftd"
    cli.run_node(sys.argv[1:])


def _end_with_the_pipe() -> None:
    # Not through sys.stdin, whose lock the interpreter wants at its end.
    while os.read(0, 1024):
        pass
    cli.stop_node()
    threading.Event().wait(_LAST)
    os._exit(1)


if __name__ == "__main__":
    main()
