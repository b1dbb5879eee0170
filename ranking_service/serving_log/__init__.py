"""The serving log: what the model saw, written off the request path."""
