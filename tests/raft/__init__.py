"""
Tests of the algorithm, with a file for each section of the paper.
"""
