"""What the body of a task may call: steps, waits, tokens, branches, child runs."""
