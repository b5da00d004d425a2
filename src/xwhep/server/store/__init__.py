"""What the server must not forget, behind one interface: protocol.py says what, sqlite*.py how."""
