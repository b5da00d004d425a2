"""The HTTP routes of xwhep.common.wire, one module for each kind of thing."""
