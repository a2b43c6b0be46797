"""Selection: the few metrics that are enough, and the traces that are worth grading next."""
