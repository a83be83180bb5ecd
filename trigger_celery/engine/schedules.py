"""Schedules: when they fire, and what people ask of them."""
