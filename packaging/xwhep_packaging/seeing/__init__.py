"""The page of a build: gathered from the store, laid out, written as one file."""
