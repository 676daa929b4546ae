"""HTTP in and out. Knows requests and answers, and nothing of S3."""
