"""Latent variables of hierarchies: traces, terms of bounds, importance weights."""
