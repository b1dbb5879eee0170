"""What the report draws beside its defects."""
