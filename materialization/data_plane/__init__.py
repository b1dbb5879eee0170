"""Three Feast plug-ins: packed rows in Redis, materialization by DuckDB, point-in-time joins."""
