"""Augmentation, losses, the one loop, and the two stages that run in it."""
