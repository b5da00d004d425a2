"""The pipeline: a git commit becomes .debs, images, and the proof that they work together."""
