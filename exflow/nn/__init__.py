"""Flax Linen networks: layers and conditioners; no densities here."""
