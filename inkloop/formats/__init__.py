"""Exports of a recognizer for other runtimes: a file a format, which writes it and loads what it wrote.

What a format needs is imported when it is used. `comparison` asks each real digits, beside torch.
"""
