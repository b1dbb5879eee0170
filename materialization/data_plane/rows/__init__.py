"""The packed-row format, and the ways between rows, Arrow columns and Feast values."""
