"""
Whether the benchmarks measure what they say; never how fast anything is.
"""
