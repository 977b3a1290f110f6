"""
Real nodes, as processes, while everything goes wrong that can.

Each run (:mod:`tests.faults.run`) starts a cluster of installed ``hraftd`` processes
whose wires (:mod:`tests.faults.wires`), disks (:mod:`tests.faults.disks`) and wall
clocks belong to the test. While faults come and go (:mod:`tests.faults.kinds`), clients
(:mod:`tests.faults.clients`) write, delete and read through all nodes and remember what
they were told. In the end everything is healed, all nodes must converge, and what the
clients saw must be linearizable; what was answered 200 is there, and what was declined
is not.

A seed decides which faults come, which nodes they meet, and what clients ask. It does
not decide how the system schedules processes, so a run can be repeated but not
replayed; what can be replayed is :mod:`hraftd.simulator`.

``pytest tests/faults`` takes about two minutes. Its seeds are new each time, and
printed; ``HRAFTD_FAULTS_SEED`` gives the first of them, and ``HRAFTD_FAULTS_SECONDS``
lets each of its runs be faulty for that time. To go on for longer::

    python -m tests.faults --seconds 3600 --seed 7

What cannot run on a machine is skipped, with a line that says what it takes: full disks
need unshare and the right to mount in a namespace of one's own, and clocks need
libfaketime.
"""
