"""Pictures: predictions beside the ground truth."""
