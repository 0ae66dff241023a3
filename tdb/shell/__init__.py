"""The shell: the only part of tdb that prints, and the only one that imports prompt-toolkit."""
