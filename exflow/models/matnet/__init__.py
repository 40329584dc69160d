"""Matryoshka networks: deep hierarchies of Gaussian latents with top-down inference."""
