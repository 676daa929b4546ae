"""The store contract, held by every store we have, and what only S3 adds."""
