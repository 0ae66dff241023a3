"""What tdb costs. Not tests: `make bench` prints a table, and nothing here fails because a machine is busy."""
