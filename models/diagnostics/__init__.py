"""What draws are worth: convergence, chains that disagree, cross-validation from a posterior."""
