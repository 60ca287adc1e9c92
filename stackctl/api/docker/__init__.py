"""The Docker Engine API: translation between its requests and the engine's operations."""
