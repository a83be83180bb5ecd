"""The hot verbs on MariaDB, MySQL and SQLite, and on PostgreSQL without psycopg 3."""
