"""Scores from cached elements: likelihoods of sets, few-shot episodes, views, importance weights."""
