"""Predictors map one example to the natural parameters of a likelihood; one family per file."""
