"""Where Docker's clients look for an engine. Where no Docker is, ours takes its place."""

DOCKER_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock")
