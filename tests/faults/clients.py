"""
Clients that remember all that they asked for and all that they were told.

Each is a thread that asks one node after another: it writes values that nobody else
ever writes, deletes, and reads at the levels that promise the newest value. What it
was told goes into a history that :mod:`tests.linearizability` can check:

* 200 says what happened. 404 to a read says that there is no value.
* 504 leaves it open, and so does a connection that breaks off, or an answer that the
  client did not wait for.
* Every other answer that the API has, and a connection that was refused, says that
  nothing has happened and never will.

Some keys are written once and never deleted: what became of these can be told without
a search.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from itertools import count
from random import Random
from threading import Event, Thread
from traceback import format_exc
from typing import TYPE_CHECKING, Any

from tests.integration.client import Connection
from tests.integration.waiting import DEADLINE, PAUSE, until
from tests.integration.workers import Workers
from tests.linearizability import Delete, Failed, Ok, Operation, Read, Unknown, Write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.client import Answer
    from tests.integration.node import Node
    from tests.linearizability import Action, Outcome

__all__ = ["Clients"]

#: Seconds that clients wait for an answer. A node takes ten before it gives up on a
#: write: some clients hear that, some have gone long before.
_PATIENCE = (1.0, 3.0, 12.0)

#: Answers that say that a write has not happened, and will not.
_DECLINED = (421, 503)

#: Reads that promise the newest value.
_LEVELS = ("linearizable", "strong")

#: Keys that clients share. With fewer of them more happens at the same time on each,
#: which finds more and takes longer to check.
_KEYS = 16


class Clients(Workers):
    """
    A few of them.
    """

    def __init__(self, nodes: Sequence[Node], seed: int, number: int = 8) -> None:
        """
        Prepare to ask these nodes.

        :param seed: decides what is asked, not when.
        """
        super().__init__()
        self._nodes = nodes
        self._wrong = Event()
        self._threads = [
            Thread(
                target=self._live, args=(f"c{each}", Random(f"{seed} {each}")), name="c"
            )
            for each in range(number)
        ]
        self.keys = [f"shared{number}" for number in range(_KEYS)]
        #: On the shared keys, everything in the order in which it ended.
        self.history: list[Operation] = []
        #: Each key that was written once: its value, and what came of that.
        self.once: dict[str, tuple[str, Outcome]] = {}
        #: The status of each answer; 0 where there was none.
        self.statuses: list[int] = []
        #: Answers that nobody may get, and whatever else went wrong in a client.
        self.impossible: list[str] = []

    def go_on(self, seconds: float) -> None:
        """
        Let so much time pass; less if something is wrong already.
        """
        self._wrong.wait(seconds)

    def until_more(self, answers: int, seconds: float) -> None:
        """
        Wait until so many more requests than now have been answered with 200.
        """
        enough = self.statuses.count(200) + answers
        until(
            lambda: self.statuses.count(200) >= enough,
            f"{answers} more requests succeed",
            seconds,
        )

    def read_all(self, node: Node) -> dict[str, str]:
        """
        Read the newest value of each key at a node, once all is well again.

        Reads of the shared keys become part of the history.
        """
        end = _Client(self, "end", [node], Random(), patience=DEADLINE)
        found: dict[str, str] = {}
        for key in (*self.keys, *self.once):
            began, outcome = until(
                lambda key=key: end.read_well(key), f"{node.id} can read {key}"
            )
            if key not in self.once:
                self.note("end", key, Read(), outcome, began)
            if isinstance(outcome.answer, str):
                found[key] = outcome.answer
        end.close()
        return found

    # In the threads.

    def blame(self, what: str) -> None:
        """
        Take note of what nobody may be told.
        """
        self.impossible.append(what)
        self._wrong.set()

    def _live(self, name: str, rng: Random) -> None:
        client = _Client(self, name, self._nodes, rng)
        # Not a flood: what counts is what is asked while something breaks, and what
        # is asked has to be checked.
        try:
            while not self._stopping.wait(rng.expovariate(1 / PAUSE)):
                client.act()
        except Exception:
            self.blame(format_exc())
        client.close()

    def note(
        self,
        client: str,
        key: str,
        action: Action,
        outcome: Outcome,
        began: float,
        index: int | None = None,
    ) -> None:
        """
        Take note of what became of an operation on a shared key.
        """
        ended = float("inf") if isinstance(outcome, Unknown) else time.monotonic()
        self.history.append(
            Operation(client, key, action, outcome, began, ended, index=index)
        )


class _Client:
    """
    One of them.
    """

    def __init__(
        self,
        clients: Clients,
        name: str,
        nodes: Sequence[Node],
        rng: Random,
        patience: float | None = None,
    ) -> None:
        self._clients = clients
        self._name = name
        self._nodes = nodes
        self._rng = rng
        self._numbers = count()
        self._connections = {
            node.id: Connection(node.http_port, patience or rng.choice(_PATIENCE))
            for node in nodes
        }
        #: Whom it believes to lead.
        self._leader = rng.choice(nodes)

    def close(self) -> None:
        """
        Close all connections.
        """
        for connection in self._connections.values():
            connection.close()

    def ask(
        self, node: Node, method: str, path: str, content: object
    ) -> Answer | OSError:
        """
        Make a request; return why there is no answer if there is none.
        """
        try:
            answer = self._connections[node.id].ask(method, path, content)
        except OSError as error:
            self._clients.statuses.append(0)
            return error
        self._clients.statuses.append(answer.status)
        return answer

    def read_well(self, key: str) -> tuple[float, Ok] | None:
        """
        Read the newest value of a key; return since when, and it, if there was a leader
        to ask for it.
        """
        began = time.monotonic()
        answer = self.ask(self._leader, "GET", f"/key/{key}?level=linearizable", None)
        outcome = _read(key, answer)
        return (began, outcome) if isinstance(outcome, Ok) else None

    def act(self) -> None:
        """
        Do one thing of those that clients do.
        """
        kind = self._rng.random()
        key = self._rng.choice(self._clients.keys)
        began = time.monotonic()
        if kind < 0.45:
            level = self._rng.choice(_LEVELS)
            node = self._rng.choice(self._nodes)
            answer = self.ask(node, "GET", f"/key/{key}?level={level}", None)
            outcome = self._read(key, answer)
            if isinstance(outcome, Ok):
                self._clients.note(self._name, key, Read(), outcome, began)
        elif kind < 0.55:
            answer = self._change("DELETE", f"/key/{key}", None)
            outcome, index = self._changed(answer, Delete())
            self._clients.note(self._name, key, Delete(), outcome, began, index)
        else:
            value = f"{self._name}-{next(self._numbers)}"
            is_once = kind < 0.7
            if is_once:
                key = f"once-{value}"
            answer = self._change("POST", "/key", {key: value})
            outcome, index = self._changed(answer, Write(value))
            if is_once:
                self._clients.once[key] = (value, outcome)
            else:
                write = Write(value)
                self._clients.note(self._name, key, write, outcome, began, index)

    def _change(self, method: str, path: str, content: object) -> Answer | OSError:
        """
        Ask whoever seems to lead, or anybody to forward it.
        """
        if self._rng.random() < 0.4:
            node = self._rng.choice(self._nodes)
            return self.ask(node, method, f"{path}?forward", content)
        answer = self.ask(self._leader, method, path, content)
        named = None
        if not isinstance(answer, OSError) and answer.status == 421:
            named = answer.content["leader"]["id"]
        if isinstance(answer, OSError) or answer.status != 200:
            others = [node for node in self._nodes if node.id == named] or self._nodes
            self._leader = self._rng.choice(others)
        return answer

    def _changed(
        self, answer: Answer | OSError, action: Action
    ) -> tuple[Outcome, int | None]:
        """
        Return what an answer says of a write or a deletion, and at which index.
        """
        match answer:
            case ConnectionRefusedError():
                return Failed(), None
            case OSError():
                return Unknown(), None
        if answer.status == 200:
            content: dict[str, Any] = answer.content
            told = content["deleted"] if isinstance(action, Delete) else None
            return Ok(told), content["index"]
        if answer.status in _DECLINED:
            return Failed(), None
        if answer.status != 504 or answer.content.get("outcome") != "unknown":
            self._clients.blame(f"{action}: {answer}")
        return Unknown(), None

    def _read(self, key: str, answer: Answer | OSError) -> Outcome:
        outcome = _read(key, answer)
        if outcome == Unknown():
            self._clients.blame(f"read of {key}: {answer}")
        return outcome


def _read(key: str, answer: Answer | OSError) -> Outcome:
    """
    Return what an answer says of a read; unknown if it says nothing that it may.
    """
    if isinstance(answer, OSError):
        return Failed()
    with suppress(json.JSONDecodeError):
        match answer.status, answer.content:
            case 200, {**found} if list(found) == [key]:
                return Ok(found[key])
            case 404, {"error": "there is no such key"}:
                return Ok(None)
            case ((503 | 504 | 421), {"error": str()}):
                return Failed()
    return Unknown()
