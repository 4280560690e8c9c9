"""Comparison of learners: estimates, paired differences, rank correlations and the verdict."""
