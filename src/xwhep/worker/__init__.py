"""The role that lends a machine: takes jobs, runs them, delivers results."""
