"""Raw pictures of any kind, brought into the convention of a data set: channels, square, polarity, paper, size."""
