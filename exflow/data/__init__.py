"""Image data as arrays, episode pipelines, the procedural glyph alphabet and augmentation. Imports no Flax."""
