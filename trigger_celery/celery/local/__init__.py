"""Runs that are executed outside of workers: by a call under Celery's eager mode, by a test."""
