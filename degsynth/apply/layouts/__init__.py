"""How a data set is laid out: which name and folder every output gets."""
