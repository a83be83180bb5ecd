"""A small shop: orders that are paid and documents that are approved."""
