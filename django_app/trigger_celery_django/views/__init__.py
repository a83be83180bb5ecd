"""What the outside world may ask over HTTP."""
