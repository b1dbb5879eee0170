"""Newest rows from the offline store into Redis, and what increments missed."""
