"""
How often strangers are mentioned in the log.
"""

from __future__ import annotations

from twisted.internet.task import Clock

from hraftd.peers.complaints import MAX_TOPICS, PAUSE_SECONDS, Complaints


class Log:
    """
    Complaints, and what became of them.
    """

    def __init__(self) -> None:
        """
        Begin with an empty log.
        """
        self.clock = Clock()
        self.complaints = Complaints(self.clock)
        self.lines: list[str] = []

    def complain(self, who: str = "a", kind: str = "x", first: int = 5) -> None:
        """
        Complain once.
        """
        self.complaints.make(
            who,
            kind,
            lambda more: self.lines.append(f"{who} {kind}{more}"),
            first=first,
        )

    def read(self) -> list[str]:
        """
        Return the lines since this was asked last.
        """
        lines, self.lines = self.lines, []
        return lines


def test_first_few() -> None:
    """
    The first few are said as they are.
    """
    log = Log()
    for _ in range(3):
        log.complain(first=3)
    assert log.read() == ["a x"] * 3


def test_once_a_minute() -> None:
    """
    Then one a minute says how many were left out since the one before.
    """
    log = Log()
    for _ in range(600):
        log.complain()
        log.clock.advance(1)
    lines = log.read()
    assert lines[:5] == ["a x"] * 5
    assert lines[5] == "a x (55 more like it were not logged)"
    assert lines[6:] == ["a x (59 more like it were not logged)"] * 8


def test_quiet_for_long() -> None:
    """
    Who was quiet for long is met like a newcomer, with a few lines and not with hours'.
    """
    log = Log()
    for _ in range(5):
        log.complain()
    log.clock.advance(1000 * PAUSE_SECONDS)
    log.read()
    for _ in range(100):
        log.complain()
    assert log.read() == ["a x"] * 5


def test_topics() -> None:
    """
    Another host, or another mistake, has lines of its own.
    """
    log = Log()
    for who, kind in (("a", "x"), ("b", "x"), ("a", "y")):
        for _ in range(9):
            log.complain(who, kind, first=1)
    assert log.read() == ["a x", "b x", "a y"]


def test_many_strangers() -> None:
    """
    However many hosts there are, lines and memory have a limit.
    """
    log = Log()
    for number in range(50_000):
        log.complain(f"host{number}", first=1)
        log.clock.advance(PAUSE_SECONDS / 50_000)
    lines = log.read()
    assert MAX_TOPICS < len(lines) <= MAX_TOPICS + 2
    assert len(log.complaints._topics) <= MAX_TOPICS + 1


def test_strangers_make_room() -> None:
    """
    Those who were not heard of for a minute make room for others; the rest stay.
    """
    log = Log()
    for number in range(MAX_TOPICS):
        log.complain(f"host{number}", first=1)
    log.clock.advance(PAUSE_SECONDS / 2)
    log.complain("host0", first=1)
    log.clock.advance(PAUSE_SECONDS / 2)
    log.read()
    for number in range(3):
        log.complain(f"new{number}", first=1)
    log.complain("host0", first=1)
    assert log.read() == [
        *("new0 x", "new1 x", "new2 x"),
        "host0 x (1 more like it were not logged)",
    ]
