"""What stands behind the command lines: configs, precision, checkpoints, training and testing."""
