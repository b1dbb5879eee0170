"""The data plane next to stock Feast and next to its floor, measured in one run."""
