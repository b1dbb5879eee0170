"""Canonical events: their schemas, the store that holds them, and the importers that fill it."""
