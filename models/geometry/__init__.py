"""The loss landscape around a solution."""
