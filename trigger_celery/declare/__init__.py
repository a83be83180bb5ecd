"""What a task says of itself when it is declared."""
