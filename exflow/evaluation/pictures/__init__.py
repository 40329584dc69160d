"""Pictures of samples as PNG files."""
