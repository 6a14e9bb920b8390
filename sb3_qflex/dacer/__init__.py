"""Diffusion Actor-Critic with Entropy Regulator (arXiv 2405.15177): the algorithm, its policy and its mathematics."""
