"""The programs people use, against a real server process."""
