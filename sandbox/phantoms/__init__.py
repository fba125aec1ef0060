"""Phantoms with known answers: made-up patients whose measurements are exact; for demos, tests."""
