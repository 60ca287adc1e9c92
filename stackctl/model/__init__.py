"""Frozen dataclasses that the layers hand to each other. Standard library only."""
