"""What the images of an arm are used for: each task trains or measures something and has a table in the report."""
