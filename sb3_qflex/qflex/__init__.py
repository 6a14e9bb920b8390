"""Q-guided Flow Exploration (arXiv 2601.19707): the algorithm, its policies and its mathematics."""
