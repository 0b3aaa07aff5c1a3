"""What several methods share. Methods import from here, never from each other."""
