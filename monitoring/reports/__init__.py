"""Evidently's reports on what was captured, window by window, and the page that shows them."""
