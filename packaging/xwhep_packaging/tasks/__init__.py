"""The pipeline's steps as doit task dicts; the only importer of doit. One module a subject, on `base`."""
