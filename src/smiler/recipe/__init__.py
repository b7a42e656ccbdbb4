"""Recipes: every option of a run in one readable file; a method is a shipped recipe."""
