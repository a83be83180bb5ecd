"""Commands of manage.py; their names begin with ``trigger_``."""
