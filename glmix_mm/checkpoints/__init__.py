"""Checkpoint files: reading them safely, what they record, and whether they fit a model."""
