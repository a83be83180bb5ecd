"""Runs a command of Django in a process of its own, with the faults of ``testproject.chaos``."""

from __future__ import annotations

import sys
from importlib import import_module

import django
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    django.setup()
    import_module("testproject.chaos")
    execute_from_command_line(sys.argv)
