"""What is promised: when, how long, where, how. Pure functions over plans; no I/O."""
