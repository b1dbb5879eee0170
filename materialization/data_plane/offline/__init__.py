"""Point-in-time joins and sources on DuckDB."""
