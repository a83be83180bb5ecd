"""Bulk operations on Django's databases: their rows, and the batches in which runs move."""
