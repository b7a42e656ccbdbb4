"""What is learned after minutes of one core: smiler, nnU-Net and MONAI on the same real CT, scored by one scorer."""
