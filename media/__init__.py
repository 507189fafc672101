"""Data at rest: format, keys, repositories, the one write path, the one read path, recovery without any service."""
