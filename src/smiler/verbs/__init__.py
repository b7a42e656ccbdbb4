"""What a user does: train, predict, relabel, evaluate. The command line and the Python API call these."""
