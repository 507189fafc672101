"""Bringing a machine's disks back from a MediaAgent."""
