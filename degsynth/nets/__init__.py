"""Plain networks, without a word on what they are for. All scriptable."""
