"""Durable queues in the database."""
