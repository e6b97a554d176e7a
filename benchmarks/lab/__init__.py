"""The laboratory: every way of building and training the recognizer under one recipe, and what is claimed of them."""
