"""`doit verify`: the same commit built again, differently, and compared bit by bit."""
