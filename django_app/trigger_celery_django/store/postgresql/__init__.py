"""The verbs of every run on PostgreSQL: compiled statements on psycopg's own cursor."""
