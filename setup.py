"""
Package hraftd, and its plugin for twistd.
"""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="hraftd",
    version="0.1.0",
    description="A replicated key-value store: Raft on Twisted, with an HTTP API",
    long_description=Path(__file__).with_name("README.rst").read_text("utf-8"),
    long_description_content_type="text/x-rst",
    license="MIT",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: No Input/Output (Daemon)",
        "Framework :: Twisted",
        "License :: OSI Approved :: MIT License",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Topic :: Database :: Database Engines/Servers",
        "Topic :: System :: Distributed Computing",
    ],
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["hraftd", "hraftd.*"]),
        # Neither twisted/ nor twisted/plugins/ is a package of ours: there is no
        # __init__.py, so that the plugin joins Twisted's own.
        "twisted.plugins",
    ],
    package_data={"hraftd": ["py.typed"]},
    install_requires=[
        "attrs>=23.1",
        "klein>=24.8",
        "rich>=13.8",
        "prometheus-client>=0.21",
        "hyperlink>=21",
        "treq>=24.9",
        "twisted>=25.5",
    ],
    extras_require={
        # What benchmarks/ compares with, and what it draws with; wrk and etcd are
        # programs of their own (Debian: apt-get install wrk etcd-server strace).
        "bench": ["matplotlib>=3.9", "pysyncobj>=0.3.15"],
        # Builds docs/ as HTML.
        "docs": ["furo>=2024.8.6", "sphinx>=8.1"],
        "test": [
            "hypothesis>=6.100",
            # These two read the API's description.
            "jsonschema>=4.20",
            "mypy>=1.11",
            "mypy-zope>=1.0.5",
            "openapi-spec-validator>=0.7",
            "pytest>=8.2",
            "pytest-cov>=5",
            "pytest-twisted>=1.14",
            # Reads the samples for Prometheus.
            "pyyaml>=6",
            "ruff>=0.6",
            # Asks a running node what the API's description says that one may ask.
            "schemathesis>=4.0",
            # Builds wheel and sdist in the tests of the packaging.
            "setuptools>=70.1",
        ],
    },
    entry_points={"console_scripts": ["hraftd = hraftd.console:main"]},
)
