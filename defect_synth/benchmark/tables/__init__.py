"""Results as tables, which the report shows in the terminal, as Markdown and as a page."""
