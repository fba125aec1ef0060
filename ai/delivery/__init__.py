"""Report versions on their way out: `services` makes and ends the rows, `run` takes one a step further, `objects` encodes."""
