"""
The commands for keys: get, set, delete, list and watch.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hraftd.client import NotMet
from hraftd.commands.endings import DONE, FAILED, NOT_SO, USAGE, Stop
from hraftd.commands.screen import shown
from hraftd.limits import Limits

if TYPE_CHECKING:
    from argparse import Namespace
    from typing import BinaryIO

    from hraftd.client import Client
    from hraftd.commands.screen import Screen

__all__ = ["delete", "get", "list_keys", "read_value", "set_key", "watch"]

#: Keys of one request.
_PAGE = 1000


def read_value(text: str, stdin: BinaryIO | None = None) -> str:
    """
    Return a value of the command line, or what stands in the standard input.

    :raises Stop: if that is no text, or more than any node would take.
    """
    if text != "-":
        return text
    if stdin is None and sys.stdin is None:
        raise Stop(USAGE, "the standard input is closed")
    limit = Limits().max_body_bytes
    data = (stdin or sys.stdin.buffer).read(limit + 1)
    if len(data) > limit:
        raise Stop(FAILED, f"the value has more than {limit} bytes; no node takes that")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Stop(
            FAILED, "the value is not UTF-8; encode it, as base64 does for example"
        ) from None


async def get(client: Client, options: Namespace, screen: Screen) -> int:
    """
    Show what a key holds.
    """
    found = await client.get(options.key, level=options.level)
    if found is None:
        raise Stop(NOT_SO, f"there is no key {options.key!r}")
    if options.json:
        screen.json({"key": options.key, "value": found.value, "index": found.index})
    elif options.raw:
        screen.exact(found.value)
    elif screen.is_terminal:
        screen.exact(shown(found.value, keep="\n\t") + "\n")
    else:
        screen.exact(found.value + "\n")
    return DONE


async def set_key(client: Client, options: Namespace, screen: Screen) -> int:
    """
    Set a key.
    """
    try:
        index = await client.set(
            options.key,
            options.value,
            ttl=options.ttl,
            if_index=options.if_index,
            if_absent=options.if_absent,
        )
    except NotMet as error:
        raise _not_met(options.key, error) from error
    _tell_index(index, options, screen)
    return DONE


async def delete(client: Client, options: Namespace, screen: Screen) -> int:
    """
    Remove a key.
    """
    try:
        done = await client.delete(options.key, if_index=options.if_index)
    except NotMet as error:
        raise _not_met(options.key, error) from error
    if options.json:
        screen.json({"index": done.index, "deleted": done.deleted})
    elif done.deleted:
        _tell_index(done.index, options, screen)
    if not done.deleted:
        raise Stop(NOT_SO, "" if options.json else f"there was no key {options.key!r}")
    return DONE


def _tell_index(index: int, options: Namespace, screen: Screen) -> None:
    if options.json:
        screen.json({"index": index})
    else:
        screen.line(f"done, index {index}")


def _not_met(key: str, error: NotMet) -> Stop:
    """
    Tell what there is, so that one can decide what to do.
    """
    if error.found is None:
        return Stop(NOT_SO, f"nothing was done: there is no key {key!r}")
    return Stop(
        NOT_SO,
        f"nothing was done: {key!r} has the index {error.found.index}; get it, and "
        f"decide anew, with --if-index {error.found.index}",
    )


async def list_keys(client: Client, options: Namespace, screen: Screen) -> int:
    """
    List keys, each page as it comes.
    """
    after = options.after
    left = options.limit
    while True:
        page = await client.list(
            options.prefix,
            after=after,
            limit=_PAGE if left is None else min(left, _PAGE),
            level=options.level,
        )
        if options.json:
            for item in page.items:
                screen.json({"key": item.key, "value": item.value, "index": item.index})
        elif options.keys:
            for item in page.items:
                screen.line(item.key)
        elif page.items:
            screen.table(
                ("KEY", ">INDEX", "VALUE"),
                [(item.key, item.index, item.value) for item in page.items],
            )
        if left is not None:
            left -= len(page.items)
        if not page.more or not page.items or left == 0:
            return DONE
        after = page.items[-1].key


async def watch(client: Client, options: Namespace, screen: Screen) -> int:
    """
    Show changes, until somebody has seen enough.
    """
    async with client.watch(options.prefix, after=options.after) as changes:
        async for event in changes:
            if options.json:
                screen.json(
                    {
                        "event": event.kind,
                        "key": event.key,
                        "value": event.value,
                        "index": event.index,
                    }
                )
            else:
                value = "" if event.value is None else f" = {event.value}"
                screen.line(f"{event.index}  {event.kind:<6}  {event.key}{value}")
    return DONE
