"""`seco planet ...`: a simulated Earth, as a dataset, as scenes, and served."""

import argparse
from pathlib import Path

from seco import config as configs


def build(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco planet build OUT`: a simulated dataset."""
    from seco.planet.build import build_dataset
    from seco.planet.settings import Build

    parser.add_argument("out", type=Path, help="dataset folder to make")
    configs.add_arguments(parser, Build)
    args = parser.parse_args(argv)
    report = build_dataset(configs.from_args(Build, args), args.out)
    for note in report.notes:
        print(f"note: {note}")
    print(f"{args.out}: {report.num_places} simulated places, {report.num_patches} patches")
    print(f"next: seco dataset sheet {args.out} --out sheet.png")
    return 0
