"""What people ask about and what processes must agree on, in a database. Knows nobody's rights and no HTTP."""
