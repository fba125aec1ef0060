"""What a resource is found by: its values, hashes and rows. The store writes it, the search asks for it."""
