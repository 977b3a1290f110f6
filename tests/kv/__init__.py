"""
The tests of the key-value store.
"""
