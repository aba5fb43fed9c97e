"""Data sets: the embedded demo set, checks before anything slow starts, classes from data."""
