"""What tells the train-test gap: rankings of learners by a measure, and how sure they are."""
