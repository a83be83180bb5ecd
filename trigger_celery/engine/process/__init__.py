"""What one process of the engine holds: leases, an alarm, what it has discovered."""
