"""Digits that a pen wrote on a screen: strokes, their trajectory, files of them, and the model that reads them."""
