"""Layers over `Sequences`: stacks of cells, pooling."""
