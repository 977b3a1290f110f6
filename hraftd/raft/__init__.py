"""
The Raft algorithm alone: no network, no disk, no clock.
"""
