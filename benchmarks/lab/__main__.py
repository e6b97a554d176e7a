"""`make lab` and `make lab-quick`: run the trials that are missing, then write docs/claims.md."""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks import real_digits, record
from benchmarks.lab import page, sweep, variants
from benchmarks.lab.trial import FULL, QUICK
from inkloop import deformed, digits
from inkloop.augmentation import AugmentationSettings
from inkloop.digits import Digits

DEFORMED, DEFORMED_SEED = AugmentationSettings(), 0


def sets() -> dict[str, Digits]:
    """Training and validation digits, the test digits, and a deformed copy of these."""
    with tempfile.TemporaryDirectory() as scratch:
        clean, warped = Path(scratch) / "mnist", Path(scratch) / "deformed"
        digits.write(real_digits.table(), clean)
        deformed.deform_split(clean, warped, "test", DEFORMED, DEFORMED_SEED)
        found = {split: digits.read(clean, split) for split in ("train", "validation", "test")}
        return {**found, "deformed": digits.read(warped, "test")}


def main() -> None:
    """Run what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few digits, few epochs, one seed: under 20 minutes")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 0 to 4; quick: 0")
    parser.add_argument("--epochs", type=int, help="of each trial; default: as the recipe says")
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    if options.epochs is not None:
        scale = replace(scale, epochs=options.epochs)
    seeds = options.seeds or ([0] if options.quick else [0, 1, 2, 3, 4])
    declared, console, found = variants.declared(), Console(), sets()
    folder = record.ROOT / "artifacts" / "lab" / "trials"
    trials = sweep.sweep(declared, seeds, scale, found, folder, console)
    by_variant = {variant.name: [each for each in trials if each.variant == variant.name] for variant in declared}
    counts = {name: len(part) for name, part in found.items() if name in trials[0].right}
    page.write(by_variant, counts, scale, scale.epochs or variants.RECIPE.epochs)
    rows = [
        {
            "variant": each.variant,
            "seed": each.seed,
            "parameters": each.parameters,
            "macs": each.macs,
            "train_s": each.train_s,
            "validation_accuracy": each.validation_accuracy,
            **{name: float(each.is_right(name, count).mean()) for name, count in counts.items()},
        }
        for each in trials
    ]
    record.keep("lab", rows)
    console.print(f"Written: {page.PAGE.relative_to(record.ROOT)}")


if __name__ == "__main__":
    main()
