"""Compression in figures: what distillation, pruning, INT8 and each engine bring."""
