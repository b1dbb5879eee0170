"""Bundles as a registry: which are there, which is promoted, how a running server follows, how two compare."""
