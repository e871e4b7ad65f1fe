"""What `check` looks at: the files, the model, and whether the two together learn one batch by heart."""
