"""Backing up a machine: the plugs of `media.backup` that reach a MediaAgent, and the job around them."""
