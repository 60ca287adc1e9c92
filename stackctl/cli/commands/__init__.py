"""One module a command or a family of commands; main.py imports only the one asked for."""
