"""The operators' page: what the loop does now, and the few things that a person decides."""
