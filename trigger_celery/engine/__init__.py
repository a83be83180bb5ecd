"""Runs, replays, settles and sweeps; one concept a file."""
