"""Volumes on the working grid: resampled and windowed once, kept compressed, read by the slice. No torch."""
