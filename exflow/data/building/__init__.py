"""What the builders of data sets share: options, picture files, views, vectors, drawing and rendering."""
