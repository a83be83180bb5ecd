"""Commands that stand in for Django's own in tests."""
