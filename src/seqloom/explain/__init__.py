"""What is inside: a cell's equations, drawn; a model's shapes, parameters, memory and kernels."""
