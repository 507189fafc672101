"""The control plane: what exists, what is promised, what runs, who may do what. It never touches data."""
