"""
What is typed behind ``hraftd``: the options of each command, and their help.

The options of a node are none of them: those are in :mod:`hraftd.options`, in the
spelling that they have always had.
"""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hraftd.addresses import parse_address
from hraftd.client.asking import LEVELS
from hraftd.commands.endings import USAGE, Stop
from hraftd.commands.names import COMMANDS
from hraftd.dev.plan import MAX_NODES

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

__all__ = ["read_options"]

_ENDPOINT = "localhost:11000"

_ENDINGS = """\
exit status:
  0 done                           4 it may or may not have happened
  1 refused or failed              5 no node reached, or no leader now: try again
  2 the command line is wrong    130 interrupted
  3 no such key, or the condition does not hold
In all cases but 0, 4, 130 and 141 (a closed pipe) nothing was changed.
"""

_ENDINGS_OF_DEV = """\
exit status:
  0 stopped by Ctrl-C   1 it could not be started, or no node is left
                        2 the command line is wrong
"""

#: Seconds of a unit.
_UNITS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class _Parser(ArgumentParser):
    """
    A parser that says in one line what is wrong.
    """

    def error(self, message: str) -> NoReturn:
        """
        End with a usage error.
        """
        raise Stop(USAGE, f"{message} (see {self.prog} --help)")


# What options take.


def _endpoints(text: str) -> list[str]:
    found = []
    for part in text.split(","):
        address = part.strip().removeprefix("http://").removesuffix("/")
        try:
            found.append(str(parse_address(address)))
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from error
    return found


def _seconds(text: str) -> float:
    read = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|d|)", text)
    if read is None or float(read[1]) == 0:
        raise ArgumentTypeError(
            f"{text!r} is no time; take for example 500ms, 30s, 10m"
        )
    return float(read[1]) * _UNITS[read[2]]


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text) or not int(text):
        raise ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def _index(text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text):
        raise ArgumentTypeError(
            f"{text!r} is no index: a number, as hraftd has shown it"
        )
    return int(text)


def _nodes(text: str) -> int:
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= MAX_NODES:
        raise ArgumentTypeError(f"take 1 to {MAX_NODES}, not {text!r}")
    return int(text)


def _port(text: str) -> int:
    # A thousand further are the Raft ports.
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= 64_000:
        raise ArgumentTypeError(f"take 1 to 64000, not {text!r}")
    return int(text)


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        # What the system's encoding could not read.
        raise ArgumentTypeError("it is not UTF-8") from None
    return text


# Each command.


def _asks(parser: ArgumentParser, json: str) -> None:
    """
    Add what all have that ask a cluster.
    """
    parser.add_argument(
        "--endpoint",
        type=_endpoints,
        action="extend",
        metavar="HOST:PORT",
        help="HTTP address of a node; several with commas, or once more. Any member of "
        f"the cluster will do, and the first that answers is taken [{_ENDPOINT}]",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=10.0,
        metavar="TIME",
        help="how long one request may take, as 500ms, 10s or 1m [10s]",
    )
    parser.add_argument("--json", action="store_true", help=f"for scripts: {json}")


def _level(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--level",
        choices=LEVELS,
        help="how fresh it has to be [what the node was started with]",
    )


def _get(parser: ArgumentParser) -> None:
    parser.add_argument("key", type=_text, metavar="KEY")
    parser.add_argument(
        "--raw", action="store_true", help="the value alone, with no newline behind it"
    )
    _level(parser)
    _asks(parser, '{"key", "value", "index"}')


def _set(parser: ArgumentParser) -> None:
    parser.add_argument("key", type=_text, metavar="KEY")
    parser.add_argument(
        "value",
        type=_text,
        metavar="VALUE",
        help="or - to read it from the standard input, as it is. Behind -- anything "
        "is a value that begins with a dash",
    )
    parser.add_argument(
        "--ttl",
        type=_seconds,
        metavar="TIME",
        help="the key is gone after that, as 500ms, 30s, 10m, 12h or 7d",
    )
    condition = parser.add_mutually_exclusive_group()
    condition.add_argument(
        "--if-index",
        type=_index,
        metavar="INDEX",
        help="only if this is still the index of the key",
    )
    condition.add_argument(
        "--if-absent", action="store_true", help="only if there is no such key"
    )
    _asks(parser, '{"index"}')


def _delete(parser: ArgumentParser) -> None:
    parser.add_argument("key", type=_text, metavar="KEY")
    parser.add_argument(
        "--if-index",
        type=_index,
        metavar="INDEX",
        help="only if this is still the index of the key",
    )
    _asks(parser, '{"index", "deleted"}')


def _list(parser: ArgumentParser) -> None:
    parser.add_argument("prefix", type=_text, nargs="?", default="", metavar="PREFIX")
    parser.add_argument(
        "--after", type=_text, metavar="KEY", help="only keys that come behind this one"
    )
    parser.add_argument(
        "--limit", type=_count, metavar="N", help="no more than so many [all]"
    )
    parser.add_argument(
        "--keys", action="store_true", help="the keys alone, one in each line"
    )
    _level(parser)
    _asks(parser, '{"key", "value", "index"} in each line')


def _watch(parser: ArgumentParser) -> None:
    parser.add_argument("prefix", type=_text, nargs="?", default="", metavar="PREFIX")
    parser.add_argument(
        "--after",
        type=_index,
        metavar="INDEX",
        help="begin with the first change behind this index [now]",
    )
    _asks(parser, '{"event", "key", "value", "index"} in each line')


def _status(parser: ArgumentParser) -> None:
    _asks(parser, "all that each member says of itself")


def _nodes_command(parser: ArgumentParser) -> None:
    _asks(parser, "a list of the members")


def _remove(parser: ArgumentParser) -> None:
    parser.add_argument("id", type=_text, metavar="ID")
    _asks(parser, '{"id", "index"}')


def _transfer(parser: ArgumentParser) -> None:
    parser.add_argument(
        "id", type=_text, nargs="?", metavar="ID", help="[who is the most up to date]"
    )
    _asks(parser, '{"leader"}')


def _backup(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="or - to write it to the standard output"
    )
    parser.add_argument(
        "--level",
        choices=LEVELS,
        default="linearizable",
        help="how fresh it has to be; none is what a node can give without a leader "
        "[linearizable]",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace the file if there is one"
    )
    _asks(parser, '{"file", "bytes"}')


def _restore(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="or - to read it from the standard input"
    )
    parser.add_argument("--yes", action="store_true", help="do it without asking")
    _asks(parser, '{"index", "keys"}')


def _dev(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--nodes", type=_nodes, metavar="N", help=f"how many, up to {MAX_NODES} [3]"
    )
    ports = parser.add_mutually_exclusive_group()
    ports.add_argument(
        "--port",
        type=_port,
        metavar="PORT",
        help="HTTP of the first node; the others have those behind it, and Raft those "
        "a thousand further [11000]",
    )
    ports.add_argument(
        "--free-ports",
        action="store_true",
        help="the first of 11000, 11010, 11020 ... where none is taken",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="keep the data there, and its ports, and go on from there the next time "
        "[a temporary directory]",
    )


_OPTIONS: dict[str, Callable[[ArgumentParser], None]] = {
    "get": _get,
    "set": _set,
    "delete": _delete,
    "list": _list,
    "watch": _watch,
    "status": _status,
    "nodes": _nodes_command,
    "remove": _remove,
    "transfer": _transfer,
    "backup": _backup,
    "restore": _restore,
    "dev": _dev,
}


def read_options(name: str, arguments: Sequence[str]) -> Namespace:
    """
    Return what the command line of one command says.

    :raises Stop: with what is wrong with it.
    """
    parser = _Parser(
        prog=f"hraftd {name}",
        description=f"{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}.",
        epilog=_ENDINGS_OF_DEV if name == "dev" else _ENDINGS,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _OPTIONS[name](parser)
    options = parser.parse_args(arguments)
    if "endpoint" in options and options.endpoint is None:
        options.endpoint = [_ENDPOINT]
    return options
