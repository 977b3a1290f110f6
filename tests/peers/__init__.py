"""
AMP between servers, in memory and on loopback.
"""
