"""
Which nodes there are to ask, and in which order.

A client is given some nodes, and learns by and by who leads. What the leader has to do
goes to it; what any node can do stays with the node that has answered last, which at
first is the one that was named first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd.addresses import parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Endpoints", "read_address"]


class Endpoints:
    """
    The addresses that a client knows.

    :ivar leader: the address of the node that leads, as far as anybody has said.
    """

    def __init__(self, addresses: Iterable[str] | str) -> None:
        """
        Begin with the addresses that somebody has given, the nearest first.

        :param addresses: ``host:port`` each, with or without ``http://`` before it;
            one string may hold several, with commas.
        :raises ValueError: with a sentence, if one of them is none, or none is given.
        """
        given = addresses.split(",") if isinstance(addresses, str) else addresses
        # Each once, in their order.
        self._given = list(dict.fromkeys(map(read_address, given)))
        if not self._given:
            raise ValueError("a client needs the address of a node")
        self._first = 0
        self.leader: str | None = None

    def route(self, *, by_leader: bool) -> list[str]:
        """
        Return all addresses in the order in which they are to be asked.

        :param by_leader: whether the leader is to be asked first.
        """
        route = self._given[self._first :] + self._given[: self._first]
        if by_leader and self.leader is not None:
            route = [self.leader, *(one for one in route if one != self.leader)]
        return route

    def has_answered(self, address: str) -> None:
        """
        Take note that a node is there.
        """
        if address in self._given:
            self._first = self._given.index(address)

    def has_failed(self, address: str) -> None:
        """
        Take note that a node is not there: it is the last to be asked next time.
        """
        self.does_not_lead(address)
        if self._given[self._first] == address:
            self._first = (self._first + 1) % len(self._given)

    def leads(self, address: str) -> None:
        """
        Take note that a node has done what only the leader does, or is said to lead.
        """
        self.leader = address

    def does_not_lead(self, address: str) -> None:
        """
        Take note that a node is not the leader.
        """
        if self.leader == address:
            self.leader = None


def read_address(address: str) -> str:
    """
    Read the address of a node, as somebody has written it.

    :raises ValueError: with a sentence, if it is none.
    """
    address = address.strip()
    if address.startswith("https://"):
        raise ValueError(f"nodes speak plain HTTP; {address!r} needs an agent for TLS")
    return str(parse_address(address.removeprefix("http://").rstrip("/")))
