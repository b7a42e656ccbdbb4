"""Many items, one work: in this process, in several processes, or over machines; the results are the same."""
