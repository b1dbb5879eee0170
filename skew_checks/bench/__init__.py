"""Seeded defects and silent controls: whether the skew check finds the ones and keeps quiet about the others."""
