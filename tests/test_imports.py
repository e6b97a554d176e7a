"""The rooms of the house: who may know whom, and that nothing heavy is imported where it is not needed."""

import subprocess
import sys

from importlinter import cli


def test_the_import_contracts_are_kept():
    assert cli.lint_imports(no_cache=True) == cli.EXIT_STATUS_SUCCESS


def test_reading_digits_needs_no_torch():
    """The served runtime reads with ONNX Runtime alone."""
    ask = "import sys, inkloop.runtime; print(sorted({'torch', 'kfp', 'ray', 'bentoml'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_command_line_answers_without_loading_the_learning_stack():
    ask = "import sys, pipeline.__main__; print(sorted({'torch', 'kfp', 'ray', 'bentoml'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout == "[]\n"
