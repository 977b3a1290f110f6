"""
How servers talk to each other: AMP over TCP.
"""
