"""From events to parquet to Redis."""
