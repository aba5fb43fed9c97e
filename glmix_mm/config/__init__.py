"""Loads configs by name or path, and plans what a command changes in them."""
