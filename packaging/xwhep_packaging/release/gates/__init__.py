"""What packages and images have to stand before they are released."""
