"""A small app for tasks under test to have effects in."""
