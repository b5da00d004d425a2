"""One running grid: the answers of its administrator, its secrets, and what of them each role gets."""
