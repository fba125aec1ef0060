"""Searching: from the pairs of an address (query) through terms to a page. Views call `query` and `pages`."""
