"""Generated defects as torch datasets."""
