"""Training scripts as people write them; none has ever heard of tdb, and none is changed for it."""
