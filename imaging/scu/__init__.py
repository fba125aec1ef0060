"""We as SCU: what we ask other nodes for. `association` opens one, `check`, `query`, `pull` and `send` use it."""
