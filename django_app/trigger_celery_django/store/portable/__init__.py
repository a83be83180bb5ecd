"""The verbs of every run on MariaDB, MySQL and SQLite, and on PostgreSQL without psycopg 3."""
