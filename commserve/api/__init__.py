"""REST: thin handlers, each with a permission."""
