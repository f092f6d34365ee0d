"""What a trained network is measured at, one file for each task."""
