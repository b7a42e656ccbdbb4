"""smiler: train organ segmentation on partly annotated CT cohorts and complete their annotations."""
