"""Bulk operations of the in-memory store."""
