"""Pictures and pages: what a model does to images, what it consists of, and how its draws are distributed."""
