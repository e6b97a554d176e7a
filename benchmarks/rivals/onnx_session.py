"""The model as every rival loads it: the same file, one thread."""

import os

import onnxruntime


def load() -> onnxruntime.InferenceSession:
    """A session on the file that MODEL names."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
