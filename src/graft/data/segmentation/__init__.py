"""Images with masks: one data set, one file."""
