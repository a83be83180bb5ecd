"""A small shop: orders are paid, documents approved, and new customers welcomed."""
