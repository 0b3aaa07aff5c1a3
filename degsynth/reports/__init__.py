"""Pictures and pages for people: what a model does, what it is, how its draws are distributed."""
