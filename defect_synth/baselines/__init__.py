"""The systems that the paper compares DFMGAN with, one file each."""
