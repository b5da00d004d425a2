"""Estimate pi by random points, with an error bar."""
