"""The joint density of parameters and targets over a flat vector: predictor, likelihood, prior."""
