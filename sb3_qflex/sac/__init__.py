"""Soft Actor-Critic (arXiv 1801.01290) on the base of all algorithms here: the control, and what others stand on."""
