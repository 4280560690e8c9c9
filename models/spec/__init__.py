"""The settings of a learner, as frozen records that text is parsed into."""
