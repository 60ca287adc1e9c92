"""Thin typed wrappers: one function a system call. Standard library only."""
