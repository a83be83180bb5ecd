"""A complete store in memory: the engine runs on it without any database."""
