# What may follow is asked of xw itself, once a shell.
xw completion fish | source
