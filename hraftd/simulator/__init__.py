"""
Whole clusters in one thread: real servers in a world that a seed decides about.

``python -m hraftd.simulator`` runs schedules, histories of some seconds of virtual
time. In each, real :class:`~hraftd.server.RaftServer` objects with the real algorithm,
store and :class:`~hraftd.client_requests.ClientRequests` meet a clock, a network and
disks that do everything which is possible, and nothing else. After each event the
invariants are checked, and in the end what clients were told. A seed makes everything:
the same one is the same history, in any process, and one that fails says how to see it
again.

Where to read on: :mod:`hraftd.simulator.schedule` tells one history;
:mod:`~hraftd.simulator.clock`, :mod:`~hraftd.simulator.network` and
:mod:`~hraftd.simulator.storage` are the world; :mod:`~hraftd.simulator.faults`,
:mod:`~hraftd.simulator.partitions` and :mod:`~hraftd.simulator.operators` what happens
in it; :mod:`~hraftd.simulator.checks` and :mod:`~hraftd.simulator.histories` what must
be true. What it was can be looked at: :mod:`hraftd.simulator.trace` in lines, and
:mod:`hraftd.simulator.diagram` in a picture, of a :mod:`~hraftd.simulator.recording`.
How to use it: ``docs/simulator.rst``.

What is not simulated:

- SQLite: what is on a disk is kept by the storage in memory, whose rules are the same.
  Torn files and flipped bits are the business of the storage's own tests. Reading from
  a disk never fails.
- AMP and HTTP: messages go through the byte forms of their arguments and results, but
  not through boxes, and clients call a node's door directly. The limits of a
  connection, on what waits and on what is sent, do not exist.
- Joining by ``--join``: newcomers are started and let in by operators. A machine loses
  its disk only when its server is no member any more, and no two clusters meet.
- Threads: disk and reactor take turns in an order that the seed decides.
"""
