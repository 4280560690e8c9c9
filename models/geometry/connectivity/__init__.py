"""What lies between two solutions: paths, barriers, permutations that make two alike."""
