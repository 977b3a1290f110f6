"""
What is looked at while a world goes on.

:class:`Watch` stands between the simulated servers and
:class:`~hraftd.raft.observer.Observer`, which knows what is right: it shows it whatever
a server writes, says, hands out and restores. It looks at a server after each event, if
anything has changed that matters, and at all of them together whenever another one
leads. And it compares what is in the state machines: those that have applied the same
entry are equal.

Real code has errors in Deferreds that nobody looks at. So the first thing that is wrong
is remembered in :attr:`Watch.violation`, whatever becomes of the exception.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import define

from hraftd.kv.store import KeyValueStore
from hraftd.raft.invariants import InvariantViolated, check_group, require
from hraftd.raft.observer import Observer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hraftd.raft.consensus import ConsensusModule
    from hraftd.raft.messages import Piece, Request, Response, Snapshot
    from hraftd.raft.ready import Ready
    from hraftd.simulator.trace import Transcript

__all__ = ["Watch", "WatchedStore"]

#: What the keys hold, in their order: value and index, or nothing; how many tokens are
#: remembered; how late it is, how many keys will expire, and when the next one does.
State: TypeAlias = "tuple[tuple[tuple[str, int] | None, ...], int, _Times]"
_Times: TypeAlias = "tuple[int, int, int | None]"


class WatchedStore(KeyValueStore):
    """
    The real store, whose content is compared with that of others.
    """

    def __init__(self, server_id: str, watch: Watch, piece_bytes: int) -> None:
        """
        Begin empty.
        """
        super().__init__(piece_bytes)
        self._server_id = server_id
        self._watch = watch

    def apply(self, index: int, command: bytes) -> object:
        """
        Carry out a command, and have the state compared.
        """
        result = super().apply(index, command)
        self._watch.applied(self._server_id, index, self)
        return result


@define(eq=False)
class _Watched:
    """
    One server from its start to its end.
    """

    core: ConsensusModule
    store: WatchedStore
    #: As the server was when it was last looked at.
    looked: tuple[object, ...] = ()
    led_term: int | None = None
    last_index: int = 0
    last_term: int = 0


class Watch:
    """
    Sees everything that happens to the servers of one world.

    :ivar violation: the first thing that was wrong.
    """

    def __init__(self, transcript: Transcript, keys: Sequence[str]) -> None:
        """
        Begin without servers.

        :param keys: all that clients ever use.
        """
        self.observer = Observer()
        self.violation: Exception | None = None
        self._transcript = transcript
        self._keys = keys
        self._watched: dict[str, _Watched] = {}
        #: By index of the last command: what the keys held behind it.
        self._states: dict[int, State] = {}

    def object_to(self, error: Exception) -> None:
        """
        Remember that something is wrong.
        """
        if self.violation is None:
            self.violation = error
            self._transcript.say("!", f"{type(error).__name__}: {error}")

    def _show(self, tell: Callable[..., object], *arguments: Any) -> None:
        try:
            tell(*arguments)
        except InvariantViolated as error:
            self.object_to(error)
            raise

    # Servers come and go.

    def enter(self, core: ConsensusModule, store: WatchedStore) -> None:
        """
        See a server that has read its disk, and has done nothing else so far.
        """
        self._watched[core.server_id] = _Watched(core, store)
        self._show(self.observer.observe, core)
        if core.log.snapshot is not None:
            self._show(self._compare_stored, core.server_id, core.log.snapshot, store)
        # The real core is told to nobody: its methods are where one can listen.
        ready, read_index, restored = core.ready, core.read_index, core.restored

        def watched_ready() -> Ready:
            # As the server was before, it was looked at behind the last event.
            result = ready()
            if result.committed or result.confirmed_reads:
                self._show(self.observer.handed_out, core, result)
            return result

        def watched_read_index() -> int:
            round_ = read_index()
            self._show(self.observer.asked, core, round_)
            return round_

        def watched_restored(snapshot: Snapshot) -> None:
            self._transcript.count("restored", core.server_id, "restored a snapshot")
            self._show(self.observer.restored, core, snapshot)
            self._show(self._compare_stored, core.server_id, snapshot, store)
            restored(snapshot)

        vars(core).update(
            ready=watched_ready,
            read_index=watched_read_index,
            restored=watched_restored,
        )

    def leave(self, server_id: str) -> None:
        """
        See a server end.
        """
        self._watched.pop(server_id, None)

    def led_term(self, server_id: str) -> int | None:
        """
        Return the term that a server leads, if it runs and does.
        """
        watched = self._watched.get(server_id)
        return None if watched is None else watched.core.led_term

    def look(self, server_id: str) -> None:
        """
        See what has become of a server.
        """
        watched = self._watched.get(server_id)
        if watched is None:
            return
        core, log = watched.core, watched.core.log
        last_index = log.last_index
        looks = (
            core.current_term,
            core.voted_for,
            core.role.__class__,
            core.commit_index,
            core.stable_index,
            last_index,
            log.last_term,
            log.snapshot,
        )
        if looks == watched.looked:
            return
        watched.looked = looks
        self._show(self.observer.observe, core)
        if watched.last_index > log.snapshot_index and not log.matches(
            watched.last_index, watched.last_term
        ):
            self._transcript.count("truncated", server_id, "deletes entries")
        watched.last_index, watched.last_term = last_index, log.last_term
        if core.led_term != watched.led_term:
            watched.led_term = core.led_term
            if core.led_term is not None:
                self._transcript.count(
                    "elected", server_id, f"leads term {core.led_term}"
                )
                self._show(self.observer.elected, core)
            self._show(self.compare_all)

    def compare_all(self) -> None:
        """
        Compare all servers that run.

        :raises InvariantViolated: if something is wrong.
        """
        check_group([watched.core for watched in self._watched.values()])

    # What they do.

    def saved(self, server_id: str, ready: Ready) -> None:
        """
        See something reach a disk.
        """
        self._show(self.observer.saved, server_id, ready)

    def compacted(
        self,
        server_id: str,
        snapshot: Snapshot,
        pieces: Sequence[Piece],
        first_index: int,
    ) -> None:
        """
        See a server's own snapshot take the place of its log on the disk.
        """
        self._transcript.count(
            "compacted",
            server_id,
            f"has a snapshot at entry {snapshot.last_index}; the log begins at "
            f"{first_index}",
        )
        self._show(
            self.observer.compacted, server_id, snapshot, tuple(pieces), first_index
        )
        self._show(self._compare_snapshot, server_id, snapshot, pieces)

    def called(self, server_id: str, request: Request) -> None:
        """
        See a request leave.
        """
        self._show(self.observer.called, server_id, request)

    def answered(self, server_id: str, request: Request, response: Response) -> None:
        """
        See an answer leave.
        """
        self._show(self.observer.answered, server_id, request, response)

    # What is in the state machines.

    def state_of(self, store: KeyValueStore) -> State:
        """
        Return what a store holds.
        """
        found = map(store.get, self._keys)
        values = tuple(None if one is None else (one.value, one.index) for one in found)
        return values, store.tokens, (store.clock, store.deadlines, store.next_due)

    def applied(self, server_id: str, index: int, store: KeyValueStore) -> None:
        """
        See a command being carried out.
        """
        self._show(self._compare, server_id, index, self.state_of(store))

    def _compare(self, server_id: str, index: int, state: State) -> None:
        known = self._states.setdefault(index, state)
        require(
            known == state,
            lambda: (
                f"{server_id} has {_brief(state)} behind entry {index}, and others "
                f"had {_brief(known)}"
            ),
        )

    def _compare_snapshot(
        self, server_id: str, snapshot: Snapshot, pieces: Sequence[Piece]
    ) -> None:
        store = KeyValueStore()
        restoration = store.restore()
        for piece in pieces:
            restoration.add(piece.data)
        restoration.finish()
        self._compare_stored(server_id, snapshot, store)

    def _compare_stored(
        self, server_id: str, snapshot: Snapshot, store: KeyValueStore
    ) -> None:
        state = self.state_of(store)
        index = snapshot.last_index
        while index and index not in self._states:
            # What is not in the state machine changes nothing.
            index -= 1
        known = self._states.get(index, _nothing(len(self._keys)))
        require(
            known == state,
            lambda: (
                f"{server_id} has {_brief(state)} in a snapshot at entry "
                f"{snapshot.last_index}, and it should be {_brief(known)}"
            ),
        )


def _nothing(keys: int) -> State:
    """
    Return what an empty store holds of so many keys.
    """
    return (None,) * keys, 0, (0, 0, None)


def _brief(state: State) -> str:
    """
    Show what the keys hold, but not all of large values.
    """
    values, tokens, (clock, deadlines, next_due) = state
    brief = [one and (one[0][:20], one[1]) for one in values]
    times = f", {deadlines} deadlines at {clock} ms, the next one at {next_due}"
    return f"{brief} and {tokens} tokens{times if clock else ''}"
