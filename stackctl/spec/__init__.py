"""Stack file -> models: read, interpolate, merge, validate. Only the loader opens files."""
