"""The engine `process`: containers as plain processes, for machines on which no container starts."""
