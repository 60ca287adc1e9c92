"""Control groups, version 1, version 2 and both at once: limits, usage, freezing, killing.

Standard library only, so that the shim may use it. Start at `driver.driver()`.
"""
