"""Coded Bernoulli autoencoders and their continuous baselines, see `model`."""
