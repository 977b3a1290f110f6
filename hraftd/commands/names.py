"""
Which commands there are, each with what it does in half a sentence.
"""

from __future__ import annotations

__all__ = ["CHANGES", "COMMANDS", "meant_by"]

COMMANDS = {
    "get": "show what a key holds",
    "set": "set a key, perhaps only if it is as you know it",
    "delete": "remove a key, perhaps only if it is as you know it",
    "list": "list keys in their order, with what they hold",
    "watch": "show each change as it happens, until Ctrl-C",
    "status": "show the cluster at a glance: every member is asked",
    "nodes": "list the members, as one of them sees them",
    "remove": "remove a member, running or not",
    "transfer": "hand leadership over",
    "backup": "write all keys to a file",
    "restore": "replace all keys with those of a backup",
    "dev": "run a cluster on this machine, to try things with, until Ctrl-C",
}

#: Those that change something.
CHANGES = frozenset(("set", "delete", "remove", "transfer", "restore"))


def meant_by(word: str) -> str | None:
    """
    Return the command that somebody may have meant who typed almost its name.
    """
    if not word.isalpha():
        return None
    from difflib import get_close_matches

    found = get_close_matches(word, COMMANDS, n=1, cutoff=0.75)
    return found[0] if found and found[0] != word else None
