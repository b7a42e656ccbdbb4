"""A recipe from the data: what the volumes and organs of a cohort measure, and the rules that choose by it."""
