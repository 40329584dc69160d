"""Results of exflow and the scripts that collect them."""
