"""Sweeps that were handed in: what is let in, where each is, and bringing them to the cluster."""
