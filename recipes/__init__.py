"""Training scripts to look into with tdb; they run from the checkout."""
