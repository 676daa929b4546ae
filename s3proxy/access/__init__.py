"""Who a request comes from, and what they may do. Knows no HTTP framework and no store."""
