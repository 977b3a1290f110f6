"""
Whatever a power cut, a bad sector or a failing disk can do to a data directory.
"""
