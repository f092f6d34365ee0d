"""Put a recorded defect into a given image: where, how, and what really changed. Pure NumPy and OpenCV."""
