"""The agents' side door: gRPC handlers of a few lines."""
