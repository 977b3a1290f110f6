"""
Raft on Twisted: a replicated key-value daemon, and a Raft to read.
"""
