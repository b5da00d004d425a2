"""Move bodies under their own gravity and watch the energy."""
