"""From events to feature snapshots: each view's SQL, run as of each instant, into one parquet partition."""
