"""Super-resolution networks, trained on LR of any kind and tested on real photographs: what a degradation is for."""
