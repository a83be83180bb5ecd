"""Runs as they are created, routed, copied and controlled from outside."""
