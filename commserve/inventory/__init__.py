"""What exists: hypervisors, their machines, and the rules that give machines to plans."""
