"""What wakes runs: events, tokens, subscriptions, and a person who ends a wait."""
