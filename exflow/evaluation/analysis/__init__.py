"""What papers look at besides their tables."""
