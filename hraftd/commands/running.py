"""
From what was typed to what is done: one command from its first line to its last.

A command has two parts. What may block, a question at the terminal, a file, the
standard input, comes first (:func:`prepare`); the rest (:func:`perform`) runs on the
reactor, with a client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from hraftd.client import Client, HraftdError, Unavailable, Unknown
from hraftd.commands import copies, keys, members
from hraftd.commands.endings import (
    FAILED,
    UNAVAILABLE,
    UNKNOWN,
    USAGE,
    Stop,
)

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Coroutine, Mapping

    from twisted.internet.defer import Deferred
    from twisted.web.iweb import IAgent

    from hraftd.commands.screen import Screen

    Deed = Callable[[Client, Namespace, Screen], Coroutine[Deferred[Any], Any, int]]

__all__ = ["DEEDS", "perform", "prepare"]

#: What each command does on the reactor.
DEEDS: Mapping[str, Deed] = {
    "get": keys.get,
    "set": keys.set_key,
    "delete": keys.delete,
    "list": keys.list_keys,
    "watch": keys.watch,
    "status": members.status,
    "nodes": members.nodes,
    "remove": members.remove,
    "transfer": members.transfer,
    "backup": copies.backup,
    "restore": copies.restore,
}


def prepare(name: str, options: Namespace, screen: Screen) -> None:
    """
    Do what may block, before anything else.

    :raises Stop: if that does not work, or somebody says no.
    """
    match name:
        case "set":
            options.value = keys.read_value(options.value)
        case "backup":
            copies.check_backup(options, screen)
        case "restore":
            copies.check_restore(options, screen)
        case _:
            pass


async def perform(
    name: str,
    options: Namespace,
    screen: Screen,
    reactor: object,
    agent: IAgent | None = None,
) -> int:
    """
    Do the command.

    :return: the status of the process.
    :raises Stop: with another status, if it is not done.
    """
    client = Client(
        options.endpoint,
        reactor=cast("Any", reactor),
        timeout=options.timeout,
        agent=agent,
    )
    try:
        return await DEEDS[name](client, options, screen)
    except HraftdError as error:
        raise Stop(*_ending(error)) from error
    except ValueError as error:
        # The client looks at what it is given before it asks anybody.
        raise Stop(USAGE, f"{error} (see hraftd {name} --help)") from error
    finally:
        await client.close()


def _ending(error: HraftdError) -> tuple[int, str]:
    """
    Return the status, and the line with what to do next.
    """
    match error:
        case Unknown():
            return UNKNOWN, f"{error}; look at what there is before you repeat it"
        case Unavailable():
            return UNAVAILABLE, f"{error}; try again, or other nodes with --endpoint"
        case _:
            return FAILED, str(error)
