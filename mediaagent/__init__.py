"""The data mover beside the repository. For now: its dedup database."""
