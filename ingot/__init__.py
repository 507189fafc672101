"""The front door: command line, all-in-one service, demo."""
