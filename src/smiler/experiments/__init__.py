"""Experiments that know the truth: phantom cohorts, hiding annotations, the demo."""
