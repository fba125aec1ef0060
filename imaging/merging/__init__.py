"""Merging two patients into one, and taking that back."""
