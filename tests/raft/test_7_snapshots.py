"""
Log compaction: Raft 7, figure 13, and what real implementations got wrong about it.

Here are whole clusters: taking snapshots, sending and installing them, crashes in
between. What one receiver answers to each request is in
:mod:`tests.raft.test_7_install_snapshot`.
"""

from __future__ import annotations

import pytest
from attrs import evolve

from hraftd.raft.messages import AppendEntries, Entry, InstallSnapshot
from hraftd.raft.ready import FetchEntries, FetchPiece, Timing
from tests.raft.network import Message, Network

SMALL = Timing(max_append_bytes=70, memory_entries=2)


def is_piece(message: Message) -> bool:
    """
    Whether this is a piece of a snapshot on its way, or the answer to one.
    """
    return isinstance(message.call.request, InstallSnapshot)


def write(network: Network, count: int, leader: str = "a") -> None:
    """
    Have so many commands appended and delivered.
    """
    for _ in range(count):
        index = network[leader].log.last_index + 1
        network.propose(leader, b"command %d" % index)
    network.settle()


def behind(
    voters: str = "abc", *, taken: bool = True, timing: Timing | None = None
) -> Network:
    """
    Return a cluster led by a, in which c lacks 9 entries of 2 to 11.

    :param taken: a has put a snapshot in place of its log, so that c needs that.
    """
    network = Network.of(voters, timing=timing)
    network.elect("a")
    network.settle()
    network.isolate("c")
    write(network, 9)
    network.run(1)
    assert network["a"].log.last_index == 11
    if taken:
        network.take_snapshot("a")
    network.heal()
    return network


def pieces(network: Network) -> list[Message]:
    """
    Return the pieces that are on their way to a follower.
    """
    return [m for m in network.waiting(kind=InstallSnapshot) if m.response is None]


def until_piece(network: Network, number: int) -> Message:
    """
    Deliver everything until that piece, counted from 1, of a snapshot is on its way.
    """
    network.tick("a", network.timing.heartbeat_interval)
    for _ in range(number):
        network.settle(is_piece)
        [message] = pieces(network)
        if number > 1:
            number -= 1
            network.deliver(message)
            [answer] = network.waiting(kind=InstallSnapshot)
            network.deliver(answer)
    network.settle(is_piece)
    [message] = pieces(network)
    return message


def offset(message: Message) -> int:
    """
    Return where the piece begins.
    """
    assert isinstance(message.call.request, InstallSnapshot)
    return message.call.request.piece.offset


def record(network: Network) -> list[InstallSnapshot]:
    """
    Return a list to which every piece is added that any server sends from now on.
    """
    sent: list[InstallSnapshot] = []
    called = network.observer.called

    def seen(server_id: str, request: object) -> None:
        if isinstance(request, InstallSnapshot):
            sent.append(request)
        called(server_id, request)

    network.observer.called = seen
    return sent


def assert_all_agree(network: Network) -> None:
    """
    Have one more command applied everywhere; all states are the same then.
    """
    network.run_until(lambda: network.leader is not None)
    leader = network.leader
    assert leader is not None
    network.run_until(
        lambda: network[leader].commit_index == network[leader].log.last_index
    )
    entry = network.propose(leader, b"one more")
    network.run(3 * network.timing.heartbeat_interval)
    for node in network.running:
        assert node.applied[-1] == entry, f"{node.server_id} lacks {entry}"
        assert node.applied == network.nodes[leader].applied
    network.check()


# Taking one.


def test_each_server_compacts_its_own_log() -> None:
    """
    "Each server takes snapshots independently, covering just the committed entries".
    """
    network = Network.of("abc")
    network.elect("a")
    write(network, 6)
    snapshot = network.take_snapshot("b")
    assert (snapshot.last_index, snapshot.last_term) == (8, 2)
    assert network["b"].log.first_index == 9
    assert network.nodes["b"].entries == []
    assert network["a"].log.first_index == network["c"].log.first_index == 1
    write(network, 2)
    assert_all_agree(network)


def test_a_snapshot_goes_no_further_than_what_is_applied() -> None:
    """
    Neither entries that are not committed are compacted, nor those not applied yet.
    """
    network = Network.of("abc")
    network.elect("a")
    write(network, 3)
    network.partition("a", "bc")
    write(network, 3)
    snapshot = network.take_snapshot("a")
    assert (snapshot.last_index, network["a"].log.last_index) == (5, 8)
    assert [entry.index for entry in network.nodes["a"].entries] == [6, 7, 8]
    assert network.begin_snapshot("a") is None, "nothing is new"
    network.elect("b")
    network.heal()
    network.run(30)
    assert network["a"].log.term_at(6) == 3, "what was not committed can still go"
    assert_all_agree(network)


@pytest.mark.parametrize("trailing", [1, 3, 100])
def test_trailing_entries_are_still_sent(trailing: int) -> None:
    """
    A follower that is a little behind gets entries, though a snapshot covers them.
    """
    network = behind(taken=False)
    snapshot = network.take_snapshot("a", trailing=9 + trailing)
    sent = record(network)
    network.run(10)
    assert sent == []
    assert network["c"].log.snapshot is None
    assert network["c"].log.last_index == snapshot.last_index == 11
    assert_all_agree(network)


def test_the_first_trailing_entry_is_known_only_by_its_term() -> None:
    """
    A follower that lacks even that one needs the snapshot: before it nothing is known.
    """
    for lacking, expected in ((2, False), (3, True)):
        network = Network.of("abc")
        network.elect("a")
        write(network, 3)
        network.isolate("c")
        write(network, lacking)
        network.take_snapshot("a", trailing=3)
        sent = record(network)
        network.heal()
        network.run(10)
        assert bool(sent) is expected
        assert_all_agree(network)


def test_a_snapshot_that_takes_long() -> None:
    """
    What is applied meanwhile is not in it, and stays in the log.
    """
    network = Network.of("abc")
    network.elect("a")
    write(network, 3)
    snapshot = network.begin_snapshot("a")
    assert snapshot is not None
    write(network, 3)
    network.finish_snapshot("a")
    assert network["a"].log.snapshot is snapshot
    assert snapshot.last_index == 5
    assert [entry.index for entry in network.nodes["a"].entries] == [6, 7, 8]
    network.crash("a")
    network.restart("a")
    assert network.nodes["a"].applied_index == 5
    assert_all_agree(network)


def test_canonical_raft_250_an_uncommitted_configuration_is_not_in_it() -> None:
    """
    A snapshot has the members as they are committed (canonical/raft 250).

    The change that a leader has begun is in force there, but may be lost.
    """
    network = Network.of("abc")
    network.elect("a")
    write(network, 2)
    network.partition("a", "bc")
    network.begin("d")
    network.add_server("a", "d")
    assert network["a"].configuration.get("d") is not None
    snapshot = network.take_snapshot("a")
    assert snapshot.configuration == network["b"].configuration
    network.elect("b")
    network.heal()
    network.isolate("d")
    network.run(30)
    assert network["a"].configuration.get("d") is None
    network.crash("a")
    network.restart("a")
    assert network["a"].configuration == network["b"].configuration


def test_pysyncobj_133_the_members_come_back_with_the_snapshot() -> None:
    """
    A server that starts goes by the newest of what it has (PySyncObj 133).

    That is the configuration of its snapshot, or a later one behind it.
    """
    network = Network.of("abc")
    network.elect("a")
    network.take_snapshot("b")
    network.begin("d")
    network.add_server("a", "d")
    network.run(10)
    assert network["b"].configuration.is_voter("d")
    for trailing in (0, 2, 9):
        network.crash("b")
        network.restart("b")
        assert network["b"].configuration.is_voter("d"), trailing
        write(network, 1)
        network.run(10)
        network.take_snapshot("b", trailing)
    network.crash("b")
    network.restart("b")
    assert network["b"].configuration == network["a"].configuration
    assert network["b"].log.configuration_index == network["b"].log.snapshot_index


# Sending entries that are on disk alone.


def test_a_follower_that_is_behind_gets_entries_from_the_disk() -> None:
    """
    Memory holds the end of the log; what is older is read back, some at a time.
    """
    network = behind(taken=False, timing=SMALL)
    assert network["a"].log.memory_index == 9
    sent = record(network)
    network.nodes["a"].has_slow_reads = True
    network.tick("a", network.timing.heartbeat_interval)
    network.settle()
    [fetch] = network.nodes["a"].fetching
    assert isinstance(fetch, FetchEntries)
    assert (fetch.to, fetch.first, fetch.last, fetch.max_bytes) == ("c", 3, 9, 70)
    network.finish_fetch("a")
    [message] = network.waiting("a", "c", kind=AppendEntries)
    assert isinstance(message.call.request, AppendEntries)
    assert [entry.index for entry in message.call.request.entries] == [3, 4]
    network.nodes["a"].has_slow_reads = False
    network.settle()
    assert network["c"].log.last_index == 11
    assert sent == []
    assert_all_agree(network)


def test_entries_that_were_compacted_while_they_were_read() -> None:
    """
    What comes too late is not sent: nobody knows what came before it (openraft 1795).
    """
    network = behind(taken=False, timing=SMALL)
    node = network.nodes["a"]
    node.has_slow_reads = True
    network.tick("a", network.timing.heartbeat_interval)
    network.settle()
    [fetch] = node.fetching
    content = node.read_entries(3, 9, 70)
    assert [entry.index for entry in content] == [3, 4]
    network.take_snapshot("a")
    network["a"].fetched(fetch, content)
    ready = network["a"].ready()
    assert ready.early_calls == ()
    [instead] = ready.fetches
    assert isinstance(instead, FetchPiece)


def test_entries_that_the_disk_has_no_longer() -> None:
    """
    The disk may be compacted before the core knows; the next heartbeat sorts it out.
    """
    network = behind(taken=False, timing=SMALL)
    node = network.nodes["a"]
    node.fails_reads = True
    network.run(10)
    assert network["c"].log.last_index == 2
    assert network["c"].leader_id == "a", "heartbeats are not held back"
    node.fails_reads = False
    network.run(network.timing.heartbeat_interval)
    assert network["c"].log.last_index == 11
    assert_all_agree(network)


@pytest.mark.parametrize("taken", [False, True])
def test_what_was_fetched_in_another_term_is_not_sent(taken: bool) -> None:
    """
    A leader that is one again knows nothing of what it asked for before.
    """
    network = behind(taken=taken, timing=SMALL)
    node = network.nodes["a"]
    node.has_slow_reads = True
    network.tick("a", network.timing.heartbeat_interval)
    network.settle()
    [old] = node.fetching
    content = b"x" if taken else node.read_entries(3, 9, 70)
    network.partition("a", "bc")
    network.elect("b")
    network.heal()
    network.run(10)
    for _ in range(2):
        core = network["a"]
        core.fetched(old, content)
        core.fetch_failed(old)
        assert core.ready().early_calls == ()
        network.partition("ac", "b")
        network.run_until(lambda: network["b"].led_term is None)
        network.elect("a")
    assert network["a"].led_term is not None
    node.fetching.clear()
    node.has_slow_reads = False
    network.heal()
    assert_all_agree(network)


# Sending a snapshot.


def test_a_follower_that_is_further_behind_gets_the_snapshot() -> None:
    """
    Piece by piece "in order", with offset and done, and then the entries behind it.
    """
    network = behind()
    write(network, 0)
    sent = record(network)
    for number in range(3):
        network.propose("a", b"later %d" % number)
    network.run(10)
    content = network.nodes["a"].pieces
    assert len(content) > 3
    assert [request.piece for request in sent] == list(content)
    assert [request.done for request in sent] == [False] * (len(content) - 1) + [True]
    assert network.nodes["c"].installs == 1
    assert network["c"].log.snapshot_index == 11
    assert network["c"].log.last_index == 14
    assert network.nodes["c"].pieces == content
    assert_all_agree(network)


def test_one_piece_at_a_time() -> None:
    """
    The next is read when the one before has been answered; so is flow controlled.
    """
    network = behind()
    first = until_piece(network, 1)
    network.tick("a", 2 * network.timing.heartbeat_interval)
    network.settle(is_piece)
    assert pieces(network) == [first]
    assert network.nodes["a"].fetching == []
    network.deliver(first)
    assert len(pieces(network)) == 0
    network.settle(lambda message: message.response is None and is_piece(message))
    assert len(pieces(network)) == 1


def test_a_transfer_does_not_hold_back_heartbeats() -> None:
    """
    A follower that waits for a piece, or for the disk of its leader, does not campaign.
    """
    network = behind()
    network.nodes["a"].has_slow_reads = True
    timeout = 3 * network.timing.election_timeout
    network.run(timeout)
    assert network.nodes["a"].fetching
    network.nodes["a"].has_slow_reads = False
    network.finish_fetch("a")
    for _ in range(timeout):
        for server_id in "abc":
            network.tick(server_id)
        network.settle(is_piece)
    assert pieces(network)
    assert network["a"].led_term == network["c"].current_term == 2
    assert network["c"].leader_id == "a"


def test_heartbeats_of_one_that_lacks_everything_accept_nothing() -> None:
    """
    They begin where all logs agree, so their answers say nothing of the logs' ends.
    """
    network = behind()
    message = until_piece(network, 1)
    network.tick("a", network.timing.heartbeat_interval)
    [heartbeat] = network.waiting("a", "c", kind=AppendEntries)
    assert heartbeat.call.request == AppendEntries(2, "a", 0, 0, (), 11)
    network.settle(is_piece)
    assert network["a"].match_index("c") in (0, 2)
    assert network["c"].commit_index == 2
    network.deliver(message)
    assert_all_agree(network)


def test_a_transfer_goes_on_after_a_lost_request_or_answer() -> None:
    """
    The piece that was lost is sent again, and none that has arrived.
    """
    for arrives in (False, True):
        network = behind()
        sent = record(network)
        message = until_piece(network, 3)
        lost = offset(message)
        if arrives:
            network.deliver(message)
            [message] = network.waiting(kind=InstallSnapshot)
        network.lose(message)
        assert not network.waiting(kind=InstallSnapshot)
        network.run(2 * network.timing.heartbeat_interval)
        assert network.nodes["c"].installs == 1
        again = [r.piece.offset for r in sent if r.piece.offset == lost]
        assert len(again) == 2
        assert len(sent) == len(network.nodes["a"].pieces) + 1
        assert_all_agree(network)


def test_a_duplicated_piece_is_harmless() -> None:
    """
    It does not follow what is there; the answer says what would.
    """
    network = behind()
    message = until_piece(network, 2)
    network.deliver(message, keep=True)
    network.deliver(message, keep=True)
    network.deliver(message)
    network.run(10)
    assert network.nodes["c"].installs == 1
    assert_all_agree(network)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_logcabin_174_the_receiver_restarts_in_mid_transfer(number: int) -> None:
    """
    It says that it needs the beginning, and gets it (LogCabin 174).
    """
    network = behind()
    sent = record(network)
    message = until_piece(network, number)
    network.crash("c")
    network.deliver(message)
    network.restart("c")
    assert network.nodes["c"].received == []
    network.run(3 * network.timing.heartbeat_interval)
    assert network.nodes["c"].installs == 1
    assert [request.piece.offset for request in sent].count(0) == 2
    assert_all_agree(network)


def test_the_sender_restarts_in_mid_transfer() -> None:
    """
    The same snapshot from the same disk goes on where the receiver stands.
    """
    network = behind()
    message = until_piece(network, 3)
    needed = offset(message)
    network.lose(message)
    network.crash("a")
    network.restart("a")
    sent = record(network)
    network.elect("a")
    network.run(10)
    assert network.nodes["c"].installs == 1
    # The leader has forgotten how far it was; the receiver says where to go on.
    first, second, *_ = network.nodes["a"].pieces
    expected = [first, *network.nodes["a"].pieces[2:]]
    assert [request.piece for request in sent] == expected
    assert expected[1].offset == needed == second.offset + len(second.data)
    assert_all_agree(network)


def test_another_leader_with_the_same_snapshot_goes_on() -> None:
    """
    A snapshot is what is in it: it does not matter who took it.
    """
    network = behind(taken=False)
    for server_id in "ab":
        network.take_snapshot(server_id)
    assert network["a"].log.snapshot == network["b"].log.snapshot
    message = until_piece(network, 3)
    needed = offset(message)
    network.lose(message)
    sent = record(network)
    network.crash("a")
    network.elect("b")
    network.run(10)
    assert network.nodes["c"].installs == 1
    assert [request.piece.offset for request in sent][:2] == [0, needed]
    network.restart("a")
    assert_all_agree(network)


def test_smg_837_another_leader_with_another_snapshot() -> None:
    """
    Pieces of two transfers are never mixed (smg 837).

    The snapshots are of the same index and term, but of other bytes, as the state
    machines of two servers may write the same state in another order.
    """
    network = behind(taken=False)
    network.nodes["b"].piece_entries = 2
    for server_id in "ab":
        network.take_snapshot(server_id)
    of_a, of_b = network["a"].log.snapshot, network["b"].log.snapshot
    assert of_a is not None
    assert of_b is not None
    assert of_a.last_index == of_b.last_index
    assert of_a.digest != of_b.digest
    message = until_piece(network, 3)
    assert len(network.nodes["c"].received) == 2
    network.lose(message)
    network.partition("a", "bc")
    network.elect("b")
    network.run(10)
    assert network.nodes["c"].installs == 1
    assert network.nodes["c"].snapshot == of_b
    assert network.nodes["c"].pieces == network.nodes["b"].pieces
    network.heal()
    assert_all_agree(network)


def test_redislabs_162_a_failure_after_the_last_piece() -> None:
    """
    Where the last answer is lost, replication still goes on (RedisLabs/raft 162).
    """
    network = behind()
    last = len(network.nodes["a"].pieces)
    message = until_piece(network, last)
    assert message.call.request == evolve(message.call.request, done=True)
    network.deliver(message)
    assert network.nodes["c"].installs == 1
    [answer] = network.waiting(kind=InstallSnapshot)
    network.lose(answer)
    network.run(2 * network.timing.heartbeat_interval)
    assert network.nodes["c"].installs == 1
    assert network["a"].match_index("c") == 11
    assert_all_agree(network)


def test_redislabs_162_the_receiver_crashes_after_the_last_piece() -> None:
    """
    Whether it was written or not, all goes on (RedisLabs/raft 162).
    """
    for written in (False, True):
        network = behind()
        message = until_piece(network, len(network.nodes["a"].pieces))
        network.nodes["c"].has_slow_disk = True
        network.deliver(message)
        assert network.nodes["c"].saving is not None
        network.crash("c", written=written)
        network.nodes["c"].has_slow_disk = False
        network.restart("c")
        assert network.nodes["c"].applied_index == (11 if written else 0)
        network.run(20)
        assert network.nodes["c"].installs == (0 if written else 1)
        assert_all_agree(network)


def test_a_second_snapshot_in_mid_transfer() -> None:
    """
    The leader has no older one any more; it begins again with the newer.
    """
    network = behind()
    message = until_piece(network, 3)
    assert offset(message)
    write_behind = [network.propose("a", b"y%d" % number) for number in range(4)]
    network.settle(is_piece)
    newer = network.take_snapshot("a")
    assert newer.last_index == write_behind[-1].index
    sent = record(network)
    network.deliver(message)
    network.run(10)
    assert sent[0].piece.offset == 0
    assert all(request.snapshot == newer for request in sent)
    assert network.nodes["c"].installs == 1
    assert_all_agree(network)


def test_a_second_snapshot_while_a_piece_of_the_first_is_read() -> None:
    """
    A piece of what is no longer there is not sent, whether it could be read or not.
    """
    for is_there in (True, False):
        network = behind()
        node = network.nodes["a"]
        node.has_slow_reads = True
        network.tick("a", network.timing.heartbeat_interval)
        network.settle()
        [fetch] = node.fetching
        assert isinstance(fetch, FetchPiece)
        data = node.read_piece(fetch.snapshot, 0)
        write(network, 3)
        newer = network.take_snapshot("a")
        node.fetching.clear()
        sent = record(network)
        if is_there:
            network["a"].fetched(fetch, data)
        else:
            network["a"].fetch_failed(fetch)
        node.has_slow_reads = False
        network.run(10)
        assert sent
        assert all(request.snapshot == newer for request in sent)
        assert_all_agree(network)


def test_two_snapshots_in_quick_succession() -> None:
    """
    The second is sent to one that is still restoring the first.
    """
    network = behind()
    network.nodes["c"].has_slow_restore = True
    network.run(10)
    first = network.nodes["c"].restoring
    assert first is not None
    assert first.last_index == 11
    network.isolate("c")
    write(network, 4)
    network.take_snapshot("a")
    network.heal()
    network.run(10)
    second = network.nodes["c"].restoring
    assert second is not None
    assert second.last_index == 15
    assert network.nodes["c"].applied_index == 2
    # What is reported of the first one now changes nothing.
    network["c"].restored(first)
    network.propose("a", b"x")
    network.settle()
    assert network.nodes["c"].applied_index == 2
    network.finish_restore("c")
    assert network.nodes["c"].applied_index == 16
    assert_all_agree(network)


def test_nothing_is_applied_until_the_snapshot_is_restored() -> None:
    """
    Entries behind it are taken and acknowledged meanwhile.
    """
    network = behind()
    network.nodes["c"].has_slow_restore = True
    network.run(10)
    write(network, 3)
    assert network["c"].commit_index == network["a"].match_index("c") == 14
    assert network.nodes["c"].applied_index == 2
    assert network.begin_snapshot("c") is None
    network.finish_restore("c")
    assert network.nodes["c"].applied_index == 14
    assert_all_agree(network)


def test_is_sending_snapshot() -> None:
    """
    The driver can wait with the next snapshot until a follower has this one.
    """
    network = behind()
    assert not network["a"].is_sending_snapshot
    message = until_piece(network, 2)
    assert network["a"].is_sending_snapshot
    assert not network["c"].is_sending_snapshot
    network.crash("c")
    network.deliver(message)
    network.run(network.timing.election_timeout)
    assert not network["a"].is_sending_snapshot, "nobody waits for one that is gone"
    network.restart("c")
    network.run(10)
    assert not network["a"].is_sending_snapshot
    assert network.nodes["c"].installs == 1


# Crashes.


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_receiver_crashes_at_every_save(number: int, written: bool) -> None:
    """
    What is on disk is the old log or the new snapshot, never a part of either.
    """
    network = behind()
    node = network.nodes["c"]
    node.has_slow_disk = True
    network.tick("a", network.timing.heartbeat_interval)
    saves = 0
    for _ in range(200):
        network.settle()
        if node.saving is not None and (node.saving.pieces or node.saving.snapshot):
            saves += 1
            if saves == number:
                break
        if node.saving is not None:
            network.finish_save("c")
    is_last = node.saving is not None and node.saving.snapshot is not None
    assert saves == number
    network.crash("c", written=written)
    assert node.snapshot_index == (11 if is_last and written else 0)
    assert len(node.entries) == (0 if is_last and written else 2)
    node.has_slow_disk = False
    network.restart("c")
    assert_all_agree(network)


def test_a_crash_before_the_restore() -> None:
    """
    The snapshot on disk is what the state machine begins with.
    """
    network = behind()
    network.nodes["c"].has_slow_restore = True
    network.run(10)
    write(network, 2)
    assert network.nodes["c"].applied_index == 2
    network.crash("c")
    network.restart("c")
    assert network.nodes["c"].applied_index == 11
    assert network["c"].commit_index == 11
    assert network["c"].log.last_index == 13
    assert_all_agree(network)


@pytest.mark.parametrize("finished", [False, True])
def test_a_crash_around_compaction(finished: bool) -> None:
    """
    A snapshot counts once it is on disk as a whole; before that the log is all there.
    """
    network = Network.of("abc")
    network.elect("a")
    write(network, 5)
    network.begin_snapshot("a")
    if finished:
        network.finish_snapshot("a", trailing=3)
    network.crash("a")
    network.restart("a")
    log = network["a"].log
    assert log.snapshot_index == (7 if finished else 0)
    assert log.first_index == (6 if finished else 1)
    assert log.last_index == 7
    assert_all_agree(network)


def test_a_disk_that_is_compacted_before_the_core_knows() -> None:
    """
    A crash in between loses nothing: what the disk holds is what counts.
    """
    network = Network.of("abc")
    network.elect("a")
    write(network, 5)
    network.begin_snapshot("a")
    node = network.nodes["a"]
    assert node.taking is not None
    snapshot, content = node.taking
    first_index = node.compact(snapshot, content, 2)
    network.observer.compacted("a", snapshot, content, first_index)
    network.crash("a")
    network.restart("a")
    assert network["a"].log.snapshot == snapshot
    assert_all_agree(network)


@pytest.mark.parametrize("trailing", [0, 2, 5])
def test_all_restart_with_snapshots_and_trailing_entries(trailing: int) -> None:
    """
    The whole cluster goes on from its disks: nothing is applied twice or left out.
    """
    network = Network.of("abc")
    network.elect("a")
    write(network, 5)
    network.run(1)
    for server_id, more in zip("abc", (0, 1, 2), strict=True):
        network.take_snapshot(server_id, trailing)
        write(network, more)
    network.run(1)
    for server_id in "abc":
        network.crash(server_id)
    for server_id in "abc":
        network.restart(server_id)
        applied = network.nodes[server_id].applied_index
        assert applied == network[server_id].log.snapshot_index
        assert network[server_id].commit_index == applied
    assert_all_agree(network)
    assert [e.index for e in network.nodes["a"].applied][:5] == [1, 2, 3, 4, 5]


def test_an_install_while_another_save_is_under_way() -> None:
    """
    The older write, of entries that the snapshot covers, ends before it and harms not.
    """
    network = behind(taken=False)
    node = network.nodes["c"]
    node.has_slow_disk = True
    network.tick("a", network.timing.heartbeat_interval)
    network.settle()
    assert node.saving is not None
    assert [entry.index for entry in node.saving.entries] == list(range(3, 12))
    write(network, 3)
    network.take_snapshot("a")
    # The leader lost the answers, and thinks that c lacks all that.
    for message in network.waiting("c"):
        network.lose(message)
    sent = node.saving
    for piece in network.nodes["a"].pieces:
        snapshot = network.nodes["a"].snapshot
        assert snapshot is not None
        done = piece is network.nodes["a"].pieces[-1]
        network["c"].handle(InstallSnapshot(2, "a", snapshot, piece, done))
    assert network["c"].log.snapshot_index == 14
    assert node.saving is sent
    network.finish_save("c")
    assert network["c"].stable_index == 2, "what was written is not in the log any more"
    assert node.saving is not None
    assert node.saving.snapshot is not None
    assert node.saving.entries == ()
    node.has_slow_disk = False
    network.finish_save("c")
    assert node.applied_index == 14
    assert_all_agree(network)


def test_an_own_snapshot_that_an_installed_one_overtook() -> None:
    """
    The older one does not come back, on disk or in memory (camunda 3573).
    """
    network = behind()
    older = network.begin_snapshot("c")
    assert older is not None
    assert older.last_index == 2
    network.run(10)
    assert network["c"].log.snapshot_index == 11
    network.finish_snapshot("c")
    network["c"].compact(older, 3)
    assert network["c"].log.snapshot_index == network.nodes["c"].snapshot_index == 11
    assert_all_agree(network)


# With everything else.


def test_a_newcomer_gets_the_snapshot_and_then_a_vote() -> None:
    """
    A learner catches up with it (dissertation 4.2.1), and knows all members.
    """
    network = Network.of("abc")
    network.elect("a")
    write(network, 9)
    network.take_snapshot("a")
    network.begin("d")
    network.add_server("a", "d")
    network.run(20)
    assert network.nodes["d"].installs == 1
    assert network["a"].configuration.is_voter("d")
    assert network["d"].configuration == network["a"].configuration
    assert_all_agree(network)


def test_a_follower_with_an_installed_snapshot_leads() -> None:
    """
    It sends what it has been sent itself to whoever needs it, from its own disk.
    """
    network = Network.of("abcde")
    network.elect("a")
    network.settle()
    network.partition("abe", "c", "d")
    write(network, 9)
    network.take_snapshot("a")
    network.partition("abce", "d")
    network.run(10)
    assert network.nodes["c"].installs == 1
    network.elect("c")
    sent = record(network)
    network.heal()
    network.run(10)
    assert network.nodes["d"].installs == 1
    assert {request.leader_id for request in sent} == {"c"}
    assert network.nodes["d"].pieces == network.nodes["a"].pieces
    assert_all_agree(network)


def test_a_conflicting_log_gives_way_to_the_snapshot() -> None:
    """
    A former leader's entries that were never committed go (figure 13, step 7).
    """
    network = Network.of("abc")
    network.elect("a")
    network.settle()
    network.partition("a", "bc")
    for number in range(4):
        network.propose("a", b"lost %d" % number)
    network.elect("b")
    for number in range(9):
        network.propose("b", b"kept %d" % number)
    network.settle()
    network.take_snapshot("b")
    network.heal()
    network.run(20)
    assert network.nodes["a"].installs == 1
    assert b"lost 0" not in network.commands("a")
    assert_all_agree(network)


def test_the_memory_stays_small() -> None:
    """
    However long the log: what is applied is on disk, and a bounded end of it in memory.
    """
    timing = Timing(memory_entries=10, memory_bytes=300)
    network = Network.of("abc", timing=timing)
    network.elect("a")
    for _ in range(20):
        write(network, 10)
    network.run(5)
    for server_id in "abc":
        log = network[server_id].log
        assert log.first_index == 1
        assert log.last_index - log.memory_index <= 10
        kept: list[Entry] = list(log.between(log.memory_index + 1, log.last_index))
        assert sum(16 + len(bytes(entry.payload)) for entry in kept) <= 300
    assert_all_agree(network)
