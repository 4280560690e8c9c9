"""Measures at stored solutions and between them: which there are, and taking them."""
