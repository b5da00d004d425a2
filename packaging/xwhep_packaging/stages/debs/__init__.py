"""Stage debs: a source becomes .debs in a clean chroot with the network off; one module a builder."""
