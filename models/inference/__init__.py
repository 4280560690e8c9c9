"""Optimisers and samplers over a flat parameter vector; they know of no data set."""
