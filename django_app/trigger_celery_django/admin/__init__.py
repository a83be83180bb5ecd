"""Runs in the Django admin: read here, changed through the engine's verbs."""
