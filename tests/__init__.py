"""Tests: what each part promises, shown by running it."""
