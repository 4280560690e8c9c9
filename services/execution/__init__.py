"""Carrying a plan out: what is missing is fitted, measured, and kept."""
