"""Fakes that ship: an in-memory engine that obeys the same tests as the real one."""
