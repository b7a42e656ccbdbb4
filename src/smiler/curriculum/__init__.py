"""SMILEr: rounds of relabelling with the network's own safest predictions. The loop never sees the truth."""
