"""
A wall clock that jumps.

Timers of Twisted wait for the wall clock: set back two hours, it stops heartbeats and
elections for two hours. A node's run on a monotonic one.
"""

from __future__ import annotations

import glob
import os
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import pytest

from .processes import leader_among, write
from .waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from .processes import Processes

_LIBRARY = next(
    iter(
        glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
        + glob.glob("/usr/lib*/faketime/libfaketime.so.1")
        + glob.glob("/usr/local/lib/faketime/libfaketime.so.1")
    ),
    None,
)


@pytest.mark.skipif(
    _LIBRARY is None, reason="needs libfaketime; in Debian: apt install libfaketime"
)
def test_clock_jumps(processes: Processes, tmp_path: Path) -> None:
    """
    Neither heartbeats nor elections care whether the wall clock jumps.
    """
    fake = tmp_path / "faketime"
    fake.write_text("+0")
    nodes = processes.cluster(
        3,
        environment={
            "LD_PRELOAD": str(_LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(fake),
            "FAKETIME_NO_CACHE": "1",
            # Only what Python calls time.time().
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        },
    )
    write(nodes, before="jump")

    def is_ignored(hours: int) -> bool:
        """
        Set the clock, and tell whether the leader takes no note of it.
        """
        leader = leader_among(nodes)
        length = len(leader.log)
        # Replaced, so that it is never read half written.
        (tmp_path / "next").write_text(f"{hours:+}h")
        os.replace(tmp_path / "next", fake)
        date = leader.ask("GET", "/status").headers["date"]
        jumped = parsedate_to_datetime(date).timestamp() - time.time()
        assert abs(jumped - 3600 * hours) < 600, "the clock has jumped"
        # More time than a follower waits for its leader.
        end = time.monotonic() + 1.5
        until(lambda: time.monotonic() > end)
        return len(leader.log) == length

    # On a busy machine an election may come for another reason, but not each time.
    assert any(is_ignored(hours) for hours in (2, 4, 6)), "set forward, nobody notices"
    assert any(is_ignored(hours) for hours in (-2, -4, -6)), "set back, nobody notices"

    # Nodes whose timers stand still would notice nothing either; but they elect nobody.
    leader = leader_among(nodes)
    leader.kill()
    write([node for node in nodes if node is not leader], after="jump")
