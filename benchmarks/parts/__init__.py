"""The pieces that `make bench` times, each against a limit measured in the same run."""
