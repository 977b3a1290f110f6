"""
Who is a member and who is more than a half of them.
"""

from __future__ import annotations

import pytest
from attrs import evolve

from hraftd.raft.configuration import (
    Configuration,
    MembershipConflict,
    Server,
    Suffrage,
    check_server_id,
)
from tests.raft.network import member


def of(voters: str, learners: str = "") -> Configuration:
    """
    Return a configuration of these members.
    """
    configuration = Configuration(tuple(map(member, voters)))
    for learner in learners:
        configuration = configuration.with_server(member(learner))
    return configuration


@pytest.mark.parametrize(
    ("voters", "majority"),
    [("a", 1), ("ab", 2), ("abc", 2), ("abcd", 3), ("abcde", 3), ("abcdef", 4)],
)
def test_a_majority_is_more_than_a_half(voters: str, majority: int) -> None:
    """
    Of an even number it is a half and one more: two halves never overlap (Raft 5.2).
    """
    configuration = of(voters)
    assert configuration.majority == majority
    assert configuration.is_majority(set(voters[:majority]))
    assert not configuration.is_majority(set(voters[: majority - 1]))


def test_only_voters_are_counted() -> None:
    """
    Learners and strangers add nothing to a majority, and nothing to its size (4.2.1).
    """
    configuration = of("abc", "de")
    assert configuration.majority == 2
    assert not configuration.is_majority({"a", "d", "e", "x"})
    assert configuration.is_majority({"a", "c"})


def test_nobody_is_no_majority_of_nobody() -> None:
    """
    A server that knows no configuration cannot elect itself.
    """
    assert not Configuration().is_majority(set())
    assert not Configuration().is_majority({"a"})


def test_members_are_in_the_order_of_their_ids() -> None:
    """
    Order never depends on who came first, so the same seed is the same history.
    """
    assert [server.id for server in of("cab", "xd").servers] == list("abcdx")
    assert of("cab") == of("bca")


def test_voters_and_learners() -> None:
    """
    A newcomer is a member without a vote until it is promoted (dissertation 4.2.1).
    """
    configuration = of("ab", "c")
    assert [server.id for server in configuration.voters] == ["a", "b"]
    assert [server.id for server in configuration.learners] == ["c"]
    assert configuration.is_voter("a")
    assert not configuration.is_voter("c")
    assert not configuration.is_voter("x")
    promoted = configuration.with_voter("c")
    assert promoted.is_voter("c")
    assert promoted.get("c") == member("c")
    assert not configuration.is_voter("c"), "a configuration never changes"


def test_a_newcomer_is_a_learner_whatever_it_says() -> None:
    """
    Nobody comes with a vote.
    """
    newcomer = Server("d", "d:1", suffrage=Suffrage.VOTER)
    for suffrage in (Suffrage.VOTER, Suffrage.LEARNER):
        added = of("a").with_server(evolve(newcomer, suffrage=suffrage)).get("d")
        assert added == Server("d", "d:1", suffrage=Suffrage.LEARNER)


@pytest.mark.parametrize(
    ("newcomer", "says"),
    [
        (Server("x", "b:12000"), "the Raft address b:12000 belongs to b"),
        (Server("x", "x:1", "b:11000"), "the HTTP address b:11000 belongs to b"),
    ],
)
def test_no_address_twice(newcomer: Server, says: str) -> None:
    """
    Two members of one address would be counted as two and be one.
    """
    with pytest.raises(MembershipConflict, match=f"^{says}$"):
        of("ab").with_server(newcomer)
    with pytest.raises(MembershipConflict, match=f"^{says}$"):
        of("abx").with_server(newcomer)


def test_a_member_just_so_is_no_change() -> None:
    """
    To join twice does nothing the second time, and needs no entry in the log.
    """
    configuration = of("ab", "c")
    for server_id in "abc":
        assert configuration.with_server(member(server_id)) is configuration
    without_http = Server("c", "c:12000")
    assert configuration.with_server(without_http) is configuration


@pytest.mark.parametrize("server_id", ["b", "c"])
def test_a_member_that_moves_keeps_its_vote(server_id: str) -> None:
    """
    The same id at another address takes the place of the old one, vote and all.
    """
    moved = of("ab", "c").with_server(Server(server_id, "new:1"))
    known = of("ab", "c").get(server_id)
    assert known is not None
    assert moved.get(server_id) == evolve(known, raft="new:1")
    assert len(moved.servers) == 3
    again = moved.with_server(Server(server_id, "new:1", "new:2"))
    assert again.get(server_id) == evolve(known, raft="new:1", http="new:2")


def test_who_is_not_to_vote() -> None:
    """
    A non-voter is a member for good without a vote; a voter can be made one.
    """
    for configuration in (of("ab"), of("abc"), of("ab", "c")):
        changed = configuration.with_server(member("c", Suffrage.NONVOTER))
        assert changed.get("c") == member("c", Suffrage.NONVOTER)
        assert changed.majority == 2
        assert [server.id for server in changed.learners] == ["c"]
        assert changed.with_server(member("c", Suffrage.NONVOTER)) is changed


def test_a_nonvoter_that_is_to_vote_begins_as_a_learner() -> None:
    """
    It may be far behind, and has to catch up like any newcomer (4.2.1).
    """
    configuration = of("ab").with_server(member("c", Suffrage.NONVOTER))
    changed = configuration.with_server(member("c"))
    assert changed.get("c") == member("c", Suffrage.LEARNER)


def test_a_member_leaves() -> None:
    """
    A voter or a learner is gone, and everybody else stays.
    """
    assert of("abc", "d").without("b") == of("ac", "d")
    assert of("abc", "d").without("d") == of("abc")
    with pytest.raises(KeyError):
        of("abc").without("x")


def test_the_last_voter_stays() -> None:
    """
    Without any voter nothing could ever be changed again.
    """
    configuration = of("a", "b")
    says = "a is the only voter, and a cluster needs one"
    with pytest.raises(MembershipConflict, match=says):
        configuration.without("a")
    with pytest.raises(MembershipConflict, match=says):
        configuration.with_server(member("a", Suffrage.NONVOTER))
    assert configuration.without("b") == of("a")


def test_unknown_http_addresses_are_not_the_same() -> None:
    """
    An empty HTTP address means unknown; two unknown ones do not collide.
    """
    configuration = Configuration((Server("a", "a:1"),))
    assert configuration.with_server(Server("b", "b:1")).get("b") is not None


def test_nobody_but_a_member_is_promoted() -> None:
    """
    A vote is given to who is there.
    """
    with pytest.raises(KeyError):
        of("ab").with_voter("x")


@pytest.mark.parametrize(
    "server_id", ["a", "node0", "localhost:12000", "[::1]:12000", "n-1_x", "x" * 128]
)
def test_names_of_servers(server_id: str) -> None:
    """
    A name, or an address that serves as one, can be in a URL, a log line and a path.
    """
    check_server_id(server_id)


@pytest.mark.parametrize(
    "server_id", ["", ".", "..", "...", "a/b", "a b", "a\n", "a\0", "a%", "x" * 129]
)
def test_what_is_no_name_of_a_server(server_id: str) -> None:
    """
    What would lead to another folder, or break a line, is refused in a sentence.
    """
    with pytest.raises(ValueError, match="is no id of a node; take up to 128 letters"):
        check_server_id(server_id)
