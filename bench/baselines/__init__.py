"""What s3proxy is measured against: nginx, the original design, and bare boto3."""
