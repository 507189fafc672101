"""Benchmarks: the corpora they read, the peers they are compared with, and the rows they print.

Nothing here is part of the product, and nothing in this module's own files needs it: `corpora`, `peers`
and `rows` work on a machine where only Python, numpy and the peers are installed. Tests never gate on time.
"""
