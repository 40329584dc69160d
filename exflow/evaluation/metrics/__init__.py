"""Measures of arrays, whatever model they come from."""
