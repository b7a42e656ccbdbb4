"""Evaluation: how good a segmentation is, and how sure that is."""
