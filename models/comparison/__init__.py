"""Which learner is better on the same rows, by how much, and how sure that is."""
