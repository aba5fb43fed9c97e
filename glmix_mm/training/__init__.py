"""Training: the runner's set-up, hooks, exact loops, signals, sharding, fitting to a GPU."""
