"""A long run of mixed traffic through a store that fails at random: `python -m tests.soak --minutes 10`."""
