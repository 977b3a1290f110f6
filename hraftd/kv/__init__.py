"""
The state machine that hraftd replicates: a key-value store.
"""
