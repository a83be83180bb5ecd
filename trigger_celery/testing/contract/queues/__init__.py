"""The contract of a store: durable queues, their lines and their slots."""
