"""The role that keeps apps, data, jobs, workers and users, and hands out work."""
