"""The process that answers DNS and holds host ports while the daemon comes and goes."""
