"""The root of all errors."""

from __future__ import annotations


class TriggerError(Exception):
    """Base of every failure that trigger-celery reports."""
