"""xwhep: a volunteer computing grid of one server, many workers and many clients."""
