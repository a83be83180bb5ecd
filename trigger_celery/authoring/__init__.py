"""What the author of a task holds: steps, waits, and the rewriting of async bodies."""
