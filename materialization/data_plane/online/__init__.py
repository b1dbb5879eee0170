"""Rows into Redis and out of it."""
