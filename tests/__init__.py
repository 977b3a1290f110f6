"""
The tests of hraftd, laid out like the package.
"""
