"""Registries: the distribution API, credentials, pull and push."""
