"""The null store: answers the S3 calls the service makes, reads every body to its end and drops it."""
