"""Lines: pictures of digit strings, composed, framed, and read by a model with CTC."""
