"""The authority that agents trust, how they join, and what is sealed to them."""
