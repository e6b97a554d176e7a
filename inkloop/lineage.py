"""Where a model comes from: the digits, the code, the seed and the models it was made from."""

import os
from pathlib import Path

from inkloop import artifacts

CODE_VARIABLE = "INKLOOP_CODE"  # digest of the code of the running step, set by the runner


def lineage_of(digits: Path, seed: int, **parents: Path) -> dict[str, str]:
    """Digests of the table of digits and of the parent models, the running step's code, and the seed."""
    return {
        "digits": artifacts.digest(digits),
        "code": os.environ.get(CODE_VARIABLE, "unknown"),
        "seed": str(seed),
        **{name: artifacts.digest(folder) for name, folder in parents.items()},
    }
