"""Faults for real: a server process, a store, and between them a proxy that breaks what it is told to break.

`python -m tests.faults` plays every row of the tables and prints what came of it; pytest plays the same rows.
"""
