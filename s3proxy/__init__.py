"""s3proxy: the plain-HTTP front door to S3."""

__version__ = "0.1.0"
