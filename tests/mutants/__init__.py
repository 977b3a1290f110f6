"""
Bugs planted in the production code, and whether the simulator finds them.

``python -m tests.mutants`` runs schedules against each bug of
:mod:`tests.mutants.catalogue` until one fails; ``--write`` keeps what it took, for the
documentation and for the tests.
"""
