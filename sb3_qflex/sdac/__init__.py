"""Soft Diffusion Actor-Critic (SDAC)."""
