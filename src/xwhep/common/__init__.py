"""What all three roles share: wire models, errors, TLS and paths. Imports no role."""
