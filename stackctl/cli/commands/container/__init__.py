"""`stackctl container ...`: docker's commands on single containers."""
