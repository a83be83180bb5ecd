"""The demo: real processes, real crashes, and a count of what happened."""
