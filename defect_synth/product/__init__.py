"""Where the product is in an image, how it may be moved, where a defect belongs on it and what shape it can have."""
