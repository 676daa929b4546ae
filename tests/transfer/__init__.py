"""Bytes in motion, against stores in memory and with the clock in our hands."""
