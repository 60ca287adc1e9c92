"""Wiring: builds the real objects, runs the reconcile loop, supervises, answers the API."""
