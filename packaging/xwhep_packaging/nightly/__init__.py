"""The nightly run: build, verify, release, and what came of each night."""
