"""What each `xw` command does; `xwhep.client.catalogue` says which is where."""
