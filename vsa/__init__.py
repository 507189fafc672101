"""The agent beside the hypervisor. For now: reading the disks of a machine."""
