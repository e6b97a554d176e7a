"""Where things run and where they are kept: storage, the champion registry, Ray, images."""
