"""The database of schedules, tokens and submissions."""
