"""The contract of a checkpoint: what a degrader is, how it is saved, loaded, tiled and run on one image."""
