"""The ledger, in SQLite and in PostgreSQL where there is one."""
