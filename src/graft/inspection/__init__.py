"""What a checkpoint or an adapter file holds."""
