"""The version of the build, one for all services."""

from __future__ import annotations

VERSION = "0.1.0"  # as pyproject.toml says; a test compares them
