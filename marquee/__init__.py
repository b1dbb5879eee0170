"""The command line: a verb for every operation, each a thin shell around one function."""
