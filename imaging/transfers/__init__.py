"""Transfers: studies that we pull, send or migrate. `rows` makes and ends them, `run` takes one a step further, `priors` asks."""
