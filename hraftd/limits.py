"""
How large what clients send may be.
"""

from __future__ import annotations

from attrs import frozen

__all__ = ["Limits"]


@frozen
class Limits:
    """
    How large a request may be, in bytes of UTF-8.
    """

    max_key_bytes: int = 1024
    max_value_bytes: int = 1024 * 1024
    #: The whole body of a request, as it arrives.
    max_body_bytes: int = 8 * 1024 * 1024
    #: Keys in one body; more would keep everything else waiting while it is read.
    max_pairs: int = 100_000
