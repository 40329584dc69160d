"""Models of binary vectors that are fitted after training: exact fits in float64, standing alone on any binary data."""
