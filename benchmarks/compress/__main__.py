"""`make bench-compress`: train what is missing, measure, and write docs/compression.md."""

import argparse

import torch
from rich.console import Console

from benchmarks import real_digits, record
from benchmarks.compress import curve, engines, page, students
from inkloop import checkpoint
from pipeline import profile

TEACHING_EPOCHS = 6


def main() -> None:
    """Run all parts, and keep the rows after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    options = parser.parse_args()
    torch.set_num_threads(1)
    console, chosen = Console(), profile.load("edge")
    splits = (real_digits.split(name) for name in ("train", "validation", "test"))
    data = students.Data(*splits)
    rows = [row for seed in options.seeds for row in students.of_seed(data, chosen, seed, console)]
    rows.append(students.by_two(data, chosen, options.seeds[0], console))
    record.keep("compress", rows)
    rows += students.by_teaching(data, chosen, TEACHING_EPOCHS, console)
    record.keep("compress", rows)
    rows += curve.of_seed(data, chosen, options.seeds[0], console)
    record.keep("compress", rows)
    folder = students.FOLDER / f"rounded-{options.seeds[0]}"
    rows += [{"part": "engines", **row} for row in engines.measured(folder, data.test.images)]
    rows.append({"part": "engines", "floor_us": engines.floor_us(checkpoint.load(folder))})
    record.keep("compress", rows)
    page.write(rows)
    console.print(f"Written: {page.PAGE.relative_to(record.ROOT)}")


if __name__ == "__main__":
    main()
