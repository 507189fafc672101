"""What holds the disks of a machine, read as `Disk`s; and what somebody else knows about their changes."""
