"""The networks that are trained on an arm's images, how they are fed, and how their answers are scored."""
