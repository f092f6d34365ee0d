"""The results of a benchmark as a page, as Markdown and as tables."""
