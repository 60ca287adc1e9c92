"""What the tests share: waiting, powers of the machine, the census, the command line."""
