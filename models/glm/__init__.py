"""Bayesian generalised linear models: formula, Bambi, PyMC."""
