"""Hostile and damaged input, and runs that are killed: made from a seed, and given to degsynth as a user would."""
