"""
Servers that a test breaks by hand, and who watches them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hraftd.raft.invariants import InvariantViolated
from hraftd.raft.observer import Observer
from hraftd.raft.ready import Ready
from tests.raft.network import server

if TYPE_CHECKING:
    from hraftd.raft.consensus import ConsensusModule

NOTHING = Ready(
    hard_state=None,
    entries=(),
    pieces=(),
    snapshot=None,
    calls=(),
    early_calls=(),
    fetches=(),
    committed=(),
    confirmed_reads=(),
    servers=None,
)


def trio(*logs: tuple[int, ...], term: int = 4) -> list[ConsensusModule]:
    """
    Return servers ``a``, ``b`` and ``c`` with these logs.
    """
    return [
        server(server_id, log, term=term)
        for server_id, log in zip("abc", logs, strict=True)
    ]


def watched(*logs: tuple[int, ...], term: int = 4) -> tuple[Observer, ...]:
    """
    Return an observer that has seen such servers, and them.
    """
    observer = Observer()
    servers = trio(*logs, term=term)
    for one in servers:
        observer.observe(one)
    return observer, *servers


def violated(sentence: str):
    """
    Expect a violation that says this.
    """
    return pytest.raises(InvariantViolated, match=sentence)
