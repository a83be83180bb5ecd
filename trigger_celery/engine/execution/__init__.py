"""Executing a run: claim, replay, steps, settlement."""
