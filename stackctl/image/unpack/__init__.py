"""Layers into directories: a process of its own for each, which sees nothing but the directory."""
