"""stackctl: a container engine and compose-style orchestrator in one package."""

__version__ = "0.1.0"
