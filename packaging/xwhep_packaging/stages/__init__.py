"""One module per stage. A stage never imports another: doit orders them."""
