"""Dockerfiles: the language, and building images from it."""
