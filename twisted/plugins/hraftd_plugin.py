"""
Make ``hraftd`` a command of ``twistd``.
"""

from twisted.application.service import ServiceMaker

hraftd = ServiceMaker(
    "hraftd",
    "hraftd.tap",
    "A replicated key-value store: Raft, with an HTTP API.",
    "hraftd",
)
