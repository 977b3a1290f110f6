"""
Tests of :mod:`hraftd.simulator`, and of everything else by means of it.
"""
