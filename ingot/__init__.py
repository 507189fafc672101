"""The front door: command line and demo."""

VERSION = "0.1.0"  # as pyproject.toml says; a test compares them
