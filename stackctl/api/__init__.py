"""The REST server over the engine's socket, and the client the CLI uses. Translation only."""
