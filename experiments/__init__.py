"""Experiments on trained models (`python -m experiments`), their results and the scripts that collect them."""
