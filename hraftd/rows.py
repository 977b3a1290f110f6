"""
What all tables of a node have in common: a checksum in each row, and damage.

SQLite does not notice a flipped bit. So each row carries a CRC-32 of its other
columns, and whoever reads it compares. The tables themselves are in
:mod:`hraftd.tables`, :mod:`hraftd.log_table` and :mod:`hraftd.snapshot_tables`.
"""

from __future__ import annotations

import json
import struct
from struct import Struct
from zlib import crc32

__all__ = ["Damage", "bytes_checksum", "checksum", "is_intact"]

_TWO_NUMBERS = Struct(">qq")


class Damage(Exception):
    """
    These tables are not as hraftd left them. The text says what is wrong.
    """


def checksum(*columns: object) -> int:
    """
    Return the CRC-32 of a few columns, in the form of a JSON array.
    """
    # What else than numbers and text damage makes of a column has some form, too,
    # and another checksum. So have the few short blobs.
    return crc32(json.dumps(columns, default=repr).encode())


def bytes_checksum(first: int, second: int, data: bytes) -> int:
    """
    Return the CRC-32 of two numbers, as 8 bytes each, and of bytes behind them.
    """
    return crc32(data, crc32(_TWO_NUMBERS.pack(first, second)))


def is_intact(first: object, second: object, data: object, crc: object) -> bool:
    """
    Whether that checksum fits, whatever these columns have become.
    """
    try:
        return bytes_checksum(first, second, data) == crc  # type: ignore[arg-type]
    except (TypeError, struct.error):
        return False
