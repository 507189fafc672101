"""An agent's side of the contract with the CommServe: joining, the line to it, leases and reports.

What an assignment means is another room's matter: it comes in as a handler by kind.
"""
