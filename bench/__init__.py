"""`python -m bench`: the figures of docs/performance.md, measured on this machine in a house of its own."""
