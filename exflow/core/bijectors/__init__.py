"""Invertible maps x -> z with log-determinants, and how to chain them."""
