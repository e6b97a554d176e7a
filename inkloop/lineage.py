"""Where a model comes from: the digits, the code, the seed and the models it was made from."""

import os
from pathlib import Path

from inkloop import artifacts

CODE_VARIABLE = "INKLOOP_CODE"  # digest of the code of the running step, set by the runner


def lineage_of(digits: Path, seed: int, **parents: Path | str) -> dict[str, str]:
    """Digests of the table of digits and of the parent models, the running step's code, and the seed.

    parents: model directories, or the digests of published models; empty: there is no such parent.
    """
    return {
        "digits": artifacts.digest(digits),
        "code": os.environ.get(CODE_VARIABLE, "unknown"),
        "seed": str(seed),
        **{name: each if isinstance(each, str) else artifacts.digest(each) for name, each in parents.items() if each},
    }
