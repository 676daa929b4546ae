"""Tests of the sans-io parsers: no loop, no socket, no clock."""
