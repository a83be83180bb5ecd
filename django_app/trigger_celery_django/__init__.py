"""The Django app: tables, admin, commands and the wiring of the engine."""
