"""Bulk operations: one act on many runs, carried out by workers."""
