"""The steps of the toy."""
