"""The Hessian and its kin as linear maps: products, diagonals, factors, traces, eigenpairs."""
