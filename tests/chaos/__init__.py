"""Fault tests of the ranking server: real processes, a real Redis, real sockets, and answers that can be recomputed.

`make chaos` runs every scenario and prints the table (docs/chaos.md).
"""
