"""Measurements of a model: how close its LR comes to real LR, its blur kernel, and whether it keeps its contract."""
