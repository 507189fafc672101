"""What somebody wants done, from the moment it is due until it ended."""
