"""
Transcripts that read as lessons, and what keeps them true.
"""
