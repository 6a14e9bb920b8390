"""Lattice (arXiv 2305.20065): noise on a policy's last latent state, which its weights correlate across actuators."""
