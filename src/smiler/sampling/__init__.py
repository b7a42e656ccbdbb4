"""From the store to batches of (image, evidence): which slices, cut where, changed how."""
