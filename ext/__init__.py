"""Native kernels: bytes in, bytes out. No policy, no I/O, no configuration."""
