"""The benchmark: what moving bytes through s3proxy costs, beside nginx, the original design, aws-cli and bare boto3."""
