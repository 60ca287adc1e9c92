"""The shim: parent of a stack's containers. Standard library and stackctl.linux only."""
