"""A CT series as one NIfTI volume, and the label map that comes back over it: geometry, writing, reading with limits."""
