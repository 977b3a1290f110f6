"""
What the documentation needs of Sphinx that Sphinx does not bring.
"""
