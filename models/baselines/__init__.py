"""Black boxes that a library fits: the plain tools that every learner is held against."""
