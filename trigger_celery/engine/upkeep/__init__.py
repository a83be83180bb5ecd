"""What is done beside the runs: the sweep, declarations, retention."""
