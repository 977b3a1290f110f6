"""
Side by side: hraftd and what somebody would take instead, in one run on one machine.

``python -m benchmarks`` starts real clusters on loopback, loads each of them with wrk,
one after the other, and ends them. ``docs/benchmarks/index.rst`` says what is measured,
how fair that is, and what came out; it is written by these modules too. Nothing here
is a test, and no test depends on how fast anything is.

- :mod:`benchmarks.systems`: who takes part, and how each is started, asked and ended;
- :mod:`benchmarks.loads`: what is measured, in one list;
- :mod:`benchmarks.runner`: rounds, in which each system has its turn at each load;
- :mod:`benchmarks.targets`: what hraftd wants to reach, as ratios within a run;
- :mod:`benchmarks.report`: tables and plots of the raw figures.

Only ratios within one run mean anything to somebody with another machine. So rounds are
outermost: what is compared was measured minutes apart, several times, and each turn has
a new cluster with an empty disk.

It needs Linux: what processes use is read from /proc.
"""
