"""What a person asks for: learners, data sets, search space, and the plan that this makes."""
