"""
``hraftd dev``: a whole cluster on this machine in one command, to try things with.

:mod:`hraftd.dev.plan` decides who is to run where, :mod:`hraftd.dev.children` runs
them, and :mod:`hraftd.dev.cluster` looks after them until somebody presses Ctrl-C.
:mod:`hraftd.dev.node` is what runs in each of the children.

The nodes are ordinary ones, each in a process of its own with a port and a disk, since
what is to be tried is what happens when one of them is killed. Nothing in here is for
production: all of them are lost with the one machine.
"""
