"""What the daemon answers to the CLI, a family of verbs a module.

A verb takes the request's body and gives messages; the last one is the result.
"""
