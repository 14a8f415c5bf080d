"""Jobs become records: processes, leases, attempts and what a user sees of it."""
