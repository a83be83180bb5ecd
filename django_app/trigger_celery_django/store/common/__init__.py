"""What the verbs of the store share, on any database."""
