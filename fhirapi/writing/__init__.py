"""What clients write: one change, a bundle's, or thousands of lines. Views and commands call it."""
