"""The report as files, text and history."""
