"""
The HTTP API.
"""
