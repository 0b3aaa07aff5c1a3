"""From two photographs of a scene, one of them zoomed in, to an aligned HR-LR pair."""
