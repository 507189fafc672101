"""What crosses a process boundary, and nothing else: the wire contract, channels, faults on the wire, tickets.

`*_pb2*.py` are generated from the `.proto` files beside them by `make stubs`; nobody edits them. Field numbers are
never used again, and a message may gain fields: the CommServe is upgraded first and serves agents of the release
before.
"""
