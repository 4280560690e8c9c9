"""The measures, by what they look at."""
