"""Where the bytes rest: the contract every store keeps, and S3 behind boto3."""
