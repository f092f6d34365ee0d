"""Quality of generated defects: realism, variety, copies of the training images, and masks."""
