"""BRUNO and Conditional BRUNO: a normalizing flow and an exchangeable process."""
