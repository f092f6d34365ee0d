"""A user's images and masks: index them, check them, split them, load them."""
