"""
The commands for the cluster: status, nodes, remove and transfer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults

from hraftd.client import HraftdError
from hraftd.commands.endings import DONE, UNAVAILABLE, Stop
from hraftd.commands.screen import in_words

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Mapping

    from hraftd.client import Client
    from hraftd.commands.screen import Screen

__all__ = ["nodes", "remove", "status", "transfer"]

#: Seconds for each member to tell how it is. One that is not there must not make all
#: the others look slow.
_GLANCE = 2.0


@frozen
class _Member:
    """
    A member, and what it says of itself.
    """

    id: str
    http: str
    suffrage: str
    #: ``None`` if it has not answered; then there is an error.
    status: Mapping[str, Any] | None
    error: str | None


async def status(client: Client, options: Namespace, screen: Screen) -> int:
    """
    Ask every member how it is.

    :raises Stop: behind all that, if nobody leads.
    """
    timeout = min(options.timeout, _GLANCE)
    seen = await client.status(timeout=options.timeout)
    members = await _ask_all(client, seen["members"], timeout)
    leader = _leader(members)
    if leader is not None:
        # It knows best who belongs to the cluster.
        known = {member.id: member for member in members}
        missing = [one for one in leader["members"] if one["id"] not in known]
        for member in await _ask_all(client, missing, timeout):
            known[member.id] = member
        members = [known[one["id"]] for one in leader["members"]]
    elif not members:
        # Removed, or not a member yet.
        members = [_Member(seen["me"]["id"], "", "", seen, None)]
    if options.json:
        screen.json(_document(seen, leader, members))
    else:
        _show(screen, seen, leader, members)
    if leader is None:
        raise Stop(UNAVAILABLE, "nobody leads; if it stays so, start more members")
    return DONE


async def _ask_all(
    client: Client, named: Iterable[Mapping[str, Any]], timeout: float
) -> list[_Member]:
    """
    Ask these members, all at the same time.
    """
    found: list[_Member] = await gatherResults(
        [Deferred.fromCoroutine(_ask(client, one, timeout)) for one in named]
    )
    return found


async def _ask(client: Client, one: Mapping[str, Any], timeout: float) -> _Member:
    status: Mapping[str, Any] | None = None
    error: str | None = None
    if one["http"]:
        try:
            status = await client.status(one["http"], timeout=timeout)
        except HraftdError as failed:
            error = str(failed)
    else:
        error = "it has told nobody its HTTP address"
    if status is not None and (found := status["me"]["id"]) != one["id"]:
        status, error = None, f"at its address there is {found}"
    return _Member(one["id"], one["http"], one["suffrage"], status, error)


def _leader(members: Iterable[_Member]) -> Mapping[str, Any] | None:
    """
    Return the status of who leads: of several who think so, the one of the last term.
    """
    leading = [
        member.status
        for member in members
        if member.status is not None and member.status["role"] == "leader"
    ]
    return max(leading, key=lambda status: status["term"], default=None)


@frozen
class _View:
    """
    What is shown of one member: its own words, and the leader's of it.
    """

    role: str | None
    #: Entries of the leader's log that are not on its disk, as far as is known.
    lag: int | None
    #: Milliseconds since it answered the leader.
    last_contact: int | None


def _view(member: _Member, leader: Mapping[str, Any] | None) -> _View:
    role = member.status["role"] if member.status else None
    if leader is None:
        return _View(role, None, None)
    [of_it] = [one for one in leader["members"] if one["id"] == member.id]
    matched = of_it["match_index"]
    return _View(
        role,
        None if matched is None else leader["last_log_index"] - matched,
        of_it["last_contact_ms"],
    )


def _document(
    seen: Mapping[str, Any], leader: Mapping[str, Any] | None, members: list[_Member]
) -> dict[str, Any]:
    rows = []
    for member in members:
        view = _view(member, leader)
        rows.append(
            {
                "id": member.id,
                "http": member.http,
                "suffrage": member.suffrage,
                "reachable": member.status is not None,
                "error": member.error,
                "role": view.role,
                "lag": view.lag,
                "last_contact_ms": view.last_contact,
                "status": member.status,
            }
        )
    return {
        "cluster": seen["cluster"],
        "leader": leader and leader["me"]["id"],
        "term": (leader or seen)["term"],
        "members": rows,
    }


def _show(
    screen: Screen,
    seen: Mapping[str, Any],
    leader: Mapping[str, Any] | None,
    members: list[_Member],
) -> None:
    term = (leader or seen)["term"]
    who = f"{leader['me']['id']} leads" if leader else "nobody leads"
    answering = sum(member.status is not None for member in members)
    screen.line(
        f"Cluster {seen['cluster']}: {who}, term {term}; "
        f"{answering} of {len(members)} members answer"
    )
    rows: list[tuple[object, ...]] = []
    marked = None
    for member in members:
        view = _view(member, leader)
        leads = leader is not None and member.id == leader["me"]["id"]
        if leads:
            marked = len(rows)
        own = member.status or {}
        contact = None if view.last_contact is None else f"{view.last_contact} ms ago"
        rows.append(
            (
                "*" if leads else "",
                member.id,
                view.role or f"{member.suffrage}, unreachable",
                member.http or None,
                own.get("term"),
                own.get("last_applied"),
                view.lag,
                contact,
                member.error or in_words(own.get("keys")),
            )
        )
    screen.table(
        ("", "ID", "ROLE", "HTTP", ">TERM", ">APPLIED", ">LAG", ">CONTACT", "STATE"),
        rows,
        marked,
    )


async def nodes(client: Client, options: Namespace, screen: Screen) -> int:
    """
    List the members.
    """
    content = await client.nodes()
    if options.json:
        screen.json(content["nodes"])
        return DONE
    rows = [
        (
            "*" if one["role"] == "leader" else "",
            *(one["id"], one["role"], one["suffrage"], one["http"] or None),
            *(one["raft"], "yes" if one["reachable"] else "no"),
        )
        for one in content["nodes"]
    ]
    leaders = [row[0] for row in rows]
    screen.table(
        ("", "ID", "ROLE", "SUFFRAGE", "HTTP", "RAFT", f"LINKED TO {content['me']}"),
        rows,
        leaders.index("*") if "*" in leaders else None,
    )
    return DONE


async def remove(client: Client, options: Namespace, screen: Screen) -> int:
    """
    Remove a member.
    """
    index = await client.remove(options.id)
    if options.json:
        screen.json({"id": options.id, "index": index})
    else:
        screen.line(f"{options.id} is no member any more; stop its process")
    return DONE


async def transfer(client: Client, options: Namespace, screen: Screen) -> int:
    """
    Hand leadership over.
    """
    leader = await client.transfer(options.id)
    if options.json:
        screen.json({"leader": leader and leader.id})
    elif leader is None:
        screen.line("done; hraftd status shows who leads now")
    else:
        screen.line(f"{leader.id} leads, term {leader.term}")
    return DONE
