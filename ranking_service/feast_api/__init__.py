"""Feast's online API on packed rows, without Feast: which features are asked for, how they are read and computed."""
