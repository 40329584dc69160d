"""Hierarchical set VAEs: from the VAE and the Neural Statistician to SCHA-VAE."""
