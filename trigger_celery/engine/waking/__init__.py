"""What wakes runs: events, tokens, subscriptions, and a person that ends a wait."""
