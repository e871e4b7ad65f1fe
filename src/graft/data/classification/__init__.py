"""Images with classes: one data set, one file."""
