"""Durable queues: which runs are let in, and what people ask of queues."""
