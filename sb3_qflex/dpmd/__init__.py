"""Diffusion Policy Mirror Descent (DPMD)."""
