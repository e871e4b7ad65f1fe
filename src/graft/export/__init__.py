"""A trained model for whoever has no Graft: one format, one file; one task, one file."""
