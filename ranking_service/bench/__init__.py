"""Benchmarks of the ranking service, each next to its floor in the same run."""
