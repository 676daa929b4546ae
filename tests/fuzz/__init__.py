"""Arbitrary bytes for everything that reads what strangers send. The invariant: only a `RequestError` ever leaves."""
