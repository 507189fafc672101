"""Recovery points as the pools have them: a cache, read back through MediaAgents, and what retention says of them."""
