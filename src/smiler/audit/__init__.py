"""The audit: what a cohort says of each organ, what a loss will see of it, and every fault at once. No torch."""
