"""How far synthetic LR images are from real ones of other scenes: figures without a pair, each beside its floor."""
