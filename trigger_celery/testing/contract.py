"""What every store has to do, as tests: run them on your own store."""
