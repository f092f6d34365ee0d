"""The procedural product, and the models of it that ship with the package."""
