"""Q-Score Matching (arXiv 2312.11752): the algorithm in two variants, its policy and its mathematics."""
