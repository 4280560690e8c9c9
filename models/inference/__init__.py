"""Ways to get from a log joint to parameters, one method per file."""
