"""Training: the runner's set-up, hooks, exact loops, signals, fitting to a GPU."""
