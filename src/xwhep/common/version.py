"""The version every role reports; the Debian build replaces this line by the package's full version."""

VERSION = "11.0.0"
