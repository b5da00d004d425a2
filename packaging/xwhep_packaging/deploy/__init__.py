"""The ways to run a grid of several containers."""
