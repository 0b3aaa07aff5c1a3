"""What runs the work on many images at a time."""
