"""
The map from the paper to the code has every rule, and what the code cites is in it.

That the places it names are there is seen to in :mod:`tests.test_docs_in_code`.
"""

from __future__ import annotations

import re
from functools import cache

import pytest

from tests.test_docs import ROOT, literals, text_of

#: How the rows of each table begin that has to be there: for figures 2 and 13 one for
#: each sentence of the box.
RULES = {
    "State (figure 2)": (
        "Persistent on all servers",
        "currentTerm",
        "votedFor",
        "log[]",
        "commitIndex",
        "lastApplied",
        "nextIndex[]",
        "matchIndex[]",
    ),
    "RequestVote RPC (figure 2)": (
        "Invoked by candidates",
        "Arguments",
        "Results",
        "Receiver 1",
        "Receiver 2",
    ),
    "AppendEntries RPC (figure 2)": (
        "Invoked by the leader",
        "Arguments",
        "Results",
        *(f"Receiver {step}" for step in range(1, 6)),
    ),
    "Rules for Servers (figure 2)": (
        "All: if commitIndex > lastApplied",
        "All: if a request or response has a term T > currentTerm",
        "Followers: respond",
        "Followers: if the election timeout elapses",
        "Candidates, on conversion: increment currentTerm",
        "Candidates, on conversion: vote for self",
        "Candidates, on conversion: reset election timer",
        "Candidates, on conversion: send RequestVote",
        "Candidates: if votes are received from a majority",
        "Candidates: if AppendEntries is received",
        "Candidates: if the election timeout elapses",
        "Leaders, upon election",
        "Leaders: repeat that during idle periods",
        "Leaders: append a client's command",
        "Leaders: respond after the entry is applied",
        "Leaders: if last log index",
        "Leaders, if successful",
        "Leaders, if it fails because of inconsistency",
        "Leaders: if there is an N > commitIndex",
    ),
    "Figure 3: what must always hold": (
        "Election Safety",
        "Leader Append-Only",
        "Log Matching",
        "Leader Completeness",
        "State Machine Safety",
    ),
    "InstallSnapshot RPC (figure 13)": (
        "Invoked by the leader",
        "Arguments",
        "Results",
        *(f"Receiver {step}" for step in range(1, 9)),
    ),
    "Section 5 of the paper": (
        *(f"§5.{part}:" for part in (1, 2, 3)),
        *(f"§5.4.{part}:" for part in (1, 2, 3)),
        *(f"§5.{part}:" for part in (5, 6)),
    ),
    "Other sections of the paper": ("§2:", "§6:", "§7:", "§8:"),
    "The dissertation: leaders and members": (
        *("D 3.10, step 1", "D 3.10, step 2", "D 3.10, step 3"),
        *("D 4.1:", "D 4.2.1:", "D 4.2.2:", "D 4.2.3:", "D 9.6:", "D 10.2.1:"),
    ),
    "The dissertation: snapshots": ("D 5.1:",),
    "The dissertation: clients": (
        "D 6.3:",
        *(f"D 6.4, step {step}:" for step in range(1, 6)),
    ),
}

#: What is not called in the code as it is in figure 13.
CALLED = {"last_included_index": "last_index", "last_included_term": "last_term"}


@cache
def tables() -> dict[str, dict[str, str]]:
    """
    Return, by heading, the rows: what is in the paper, and where it is in the code.
    """
    parts = re.split(r"\n([^\n]+)\n-{4,}\n", text_of("paper-to-code.rst"))
    found = {}
    for heading, text in zip(parts[1::2], parts[2::2], strict=True):
        _, *rows = re.split(r"\n   \* - ", text.rstrip())
        cells = [" ".join(row.split()).split(" - ", 1) for row in rows]
        found[heading] = dict(cells[1:])
    return found


def test_every_rule_has_its_row() -> None:
    """
    No table is missing, and in none a rule; a box has no others.
    """
    assert set(tables()) == set(RULES)
    for heading, beginnings in RULES.items():
        rows = list(tables()[heading])
        for beginning in beginnings:
            assert any(row.startswith(beginning) for row in rows), beginning
        if "(figure" in heading:
            assert len(rows) == len(beginnings), heading


def test_every_row_leads_somewhere() -> None:
    """
    No row is without a name of the code.
    """
    for rows in tables().values():
        for rule, code in rows.items():
            assert "``hraftd." in code, rule


@pytest.mark.parametrize(
    "heading", [heading for heading in RULES if " RPC " in heading]
)
@pytest.mark.parametrize("side", ["Arguments", "Results"])
def test_every_field_has_its_place(heading: str, side: str) -> None:
    """
    Each argument and each result of a box is named, and there is one of that name.
    """
    [(rule, code)] = [
        (rule, code)
        for rule, code in tables()[heading].items()
        if rule.startswith(side)
    ]
    fields = re.findall(r"\w+", rule.removeprefix(side))
    named = {name.rpartition(".")[2] for name in literals(code)}
    for field in fields:
        name = re.sub(r"([A-Z])", lambda found: "_" + found[1].lower(), field)
        assert CALLED.get(name, name) in named, field


NUMBER = r"\d+(?:\.\d+)*"
CITED = re.compile(
    r"\b(Raft|[Dd]issertation|diss\.)(?: \(extended\))?,?"
    rf"(?: sections?| chapters?)? ({NUMBER}(?:(?:,| and|, and) {NUMBER})*)"
)


def citations(text: str) -> set[str]:
    """
    Return the sections that a text cites, as the map writes them.
    """
    found = set()
    for work, numbers in CITED.findall(" ".join(text.replace("#", " ").split())):
        for number in re.findall(NUMBER, numbers):
            found.add(f"§{number}" if work == "Raft" else f"D {number}")
    return found


def test_what_the_code_cites_is_in_the_map() -> None:
    """
    Whatever section a docstring or a comment of hraftd names has a row.

    A chapter has one if one of its sections has.
    """
    written = "\n".join(rule for rows in tables().values() for rule in rows)
    listed = {
        f"{mark}{number}"
        for mark, numbers in re.findall(rf"(§|D )({NUMBER}(?:, {NUMBER})*)", written)
        for number in numbers.split(", ")
    }
    cited = set()
    for path in sorted((ROOT / "hraftd").rglob("*.py")):
        cited |= citations(path.read_text("utf-8"))
    assert {"§5.4.2", "D 4.2.3", "D 10.2.1"} <= cited
    missing = {
        section
        for section in cited
        if not any(one == section or one.startswith(f"{section}.") for one in listed)
    }
    assert missing == set()


def test_citations_are_recognised() -> None:
    """
    One section, several, a line that is broken; and no number of somebody's issue.
    """
    assert citations("as in (Raft 5.2, 5.4). # x") == {"§5.2", "§5.4"}
    assert citations("(dissertation\n    # 4.2.3)") == {"D 4.2.3"}
    assert citations("diss. 3.10, and dissertation chapter 4") == {"D 3.10", "D 4"}
    assert citations("(canonical/raft 250; openraft 510)") == set()
