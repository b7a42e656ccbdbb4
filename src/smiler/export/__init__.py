"""A cohort written as other tools read it, with what an expert said kept beside it. No torch."""
