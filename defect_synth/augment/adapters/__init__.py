"""The augmenter in the pipelines of other libraries, one file for each."""
