"""Put a recorded defect into a given image: where, how, and which pixels visibly changed. NumPy and OpenCV only."""
