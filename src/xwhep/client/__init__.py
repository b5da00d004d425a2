"""The role people type at: registers apps and data, submits jobs, fetches results."""
