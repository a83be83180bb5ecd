"""The hot verbs on PostgreSQL: compiled statements on psycopg's own cursor."""
