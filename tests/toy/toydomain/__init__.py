"""The domain of a small product, to try the runner on."""
