"""The serving log, and the training join for the same requests."""
