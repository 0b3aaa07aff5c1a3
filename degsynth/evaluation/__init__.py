"""Measurements of a model: how close its LR is to real LR, its blur kernel, and checks that every model must pass."""
