"""From a trained network to scores, masks on the CT's own grid, and volumes in ml."""
