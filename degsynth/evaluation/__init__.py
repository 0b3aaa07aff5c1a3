"""How close synthesised LR comes to real LR."""
