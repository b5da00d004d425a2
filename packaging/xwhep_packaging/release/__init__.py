"""From a build with a verdict to something the world can install: staged, verified, promoted, taken back."""
