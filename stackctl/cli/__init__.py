"""Commands and everything that prints; the only place that prints or exits."""
