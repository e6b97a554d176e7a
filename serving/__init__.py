"""The service that answers: a Bento, its routes and the page."""
