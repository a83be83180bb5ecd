"""The part of the contract that bulk operations keep."""
