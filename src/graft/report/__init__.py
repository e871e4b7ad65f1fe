"""One page that shows what runs have learned: curves, scores, images, cost and configuration."""
