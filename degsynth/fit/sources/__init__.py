"""Where a fit's images come from: aligned pairs, two unpaired folders, or LR photographs alone."""
