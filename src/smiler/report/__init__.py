"""Report: one HTML file that shows a cohort, a run or a comparison, without a network and without scripts."""
