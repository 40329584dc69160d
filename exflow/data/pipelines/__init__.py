"""From a data set to batches, each a pure function of seed and step."""
