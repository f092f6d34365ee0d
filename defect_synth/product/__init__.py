"""Where the part is in an image, how it lies, and where on it a defect belongs, in what shape."""
