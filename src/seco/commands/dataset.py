"""`seco dataset ...`: make, look at, check and split datasets."""

import argparse
import dataclasses
from pathlib import Path

from seco import config as configs
from seco.commands._common import json_flag
from seco.errors import DatasetError
from seco.runs import print_table, write_rows

CLEAR_ENOUGH = 0.8
"""Clear fraction below which `seco dataset info` calls a patch cloudy."""


def import_(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco dataset import KIND SOURCE OUT`: flags are the importer's own."""
    from seco.data import importing

    names = importing.names()
    if not argv or argv[0] in ("-h", "--help"):
        lines = [f"  {n:<12} {importing.find(n).HELP}" for n in names]
        print("usage: seco dataset import KIND SOURCE OUT [settings]\n\nkinds:\n" + "\n".join(lines))
        print(
            f"\n`seco dataset import KIND --help` lists its settings\nexample: {importing.find(names[0]).EXAMPLE}"
        )
        return 0
    importer = importing.find(argv[0])
    parser.prog += f" {argv[0]}"
    parser.description = importer.HELP[0].upper() + importer.HELP[1:] + "."
    parser.epilog = f"example: {importer.EXAMPLE}"
    parser.add_argument("source", type=Path, help="folder or file to import")
    parser.add_argument("out", type=Path, help="dataset folder to make")
    configs.add_arguments(parser, importer.Options)
    args = parser.parse_args(argv[1:])
    report = importer.run(args.source, args.out, configs.from_args(importer.Options, args))
    for note in report.notes:
        print(f"note: {note}")
    print(f"{args.out}: {report.num_places} places, {report.num_patches} patches")
    return 0


def export(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco dataset export KIND DATASET OUT`: flags are the exporter's own."""
    from seco.data import exporting
    from seco.data.dataset import open_dataset

    names = exporting.names()
    if not argv or argv[0] in ("-h", "--help"):
        lines = [f"  {n:<12} {exporting.find(n).HELP}" for n in names]
        print("usage: seco dataset export KIND DATASET OUT [settings]\n\nkinds:\n" + "\n".join(lines))
        print(
            f"\n`seco dataset export KIND --help` lists its settings\nexample: {exporting.find(names[0]).EXAMPLE}"
        )
        return 0
    exporter = exporting.find(argv[0])
    parser.prog += f" {argv[0]}"
    parser.description = exporter.HELP[0].upper() + exporter.HELP[1:] + "."
    parser.epilog = f"example: {exporter.EXAMPLE}"
    parser.add_argument("dataset", type=Path, help="dataset to read")
    parser.add_argument("out", type=Path, help="folder to make")
    configs.add_arguments(parser, exporter.Options)
    args = parser.parse_args(argv[1:])
    report = exporter.run(open_dataset(args.dataset), args.out, configs.from_args(exporter.Options, args))
    for note in report.notes:
        print(f"note: {note}")
    print(f"{args.out}: {report.num_places} places, {report.num_patches} patches, {report.num_files} files")
    return 0


def info(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco dataset info DATASET`."""
    import numpy as np

    from seco.data.dataset import open_dataset

    parser.add_argument("dataset", type=Path)
    json_flag(parser)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset)
    meta = dataset.meta
    per_place = np.bincount(dataset.place)
    days = dataset.dates[~np.isnat(dataset.dates)]
    labels = sorted({x for x in dataset.labels if x is not None})
    facts = {
        "places": meta.num_places,
        "patches": meta.num_patches,
        "patches a place": f"{per_place.min()} to {per_place.max()}",
        "patch": f"{meta.patch_px} x {meta.patch_px} px",
        "dates": f"{days.min()} to {days.max()}" if len(days) else "unknown",
        "clear": _clear(dataset.index["clear_fraction"].to_pylist()),
        "labels": f"{len(labels)} ({', '.join(labels[:12])}{', ...' if len(labels) > 12 else ''})"
        if labels
        else "none",
        "archive": ", ".join(f"{g.dtype} {len(g.bands)} x {g.height_px} x {g.width_px}" for g in meta.groups),
        "bytes on disk": sum(f.stat().st_size for f in args.dataset.rglob("*") if f.is_file()),
        "licence": meta.licence,
        "importer": meta.provenance.get("importer", "unknown"),
        "fingerprint": dataset.fingerprint,
    }
    print_table(
        [{"fact": k, "value": v} for k, v in facts.items()], ("fact", "value"), title=str(args.dataset)
    )
    columns = (
        "name",
        "common_name",
        "wavelength_nm",
        "gsd_m",
        "units",
        "scale",
        "offset",
        "nodata",
        "stretch",
    )
    print_table([{c: getattr(b, c) for c in columns} for b in meta.bands], columns, title="bands")
    if args.json:
        write_rows(args.json, [{**facts, "bands": [b.to_json() for b in meta.bands]}])
    return 0


def _clear(fractions: list[float | None]) -> str:
    """Say in words how much of the patches can be seen."""
    known = [f for f in fractions if f is not None]
    if not known:
        return "unknown"
    cloudy = sum(f < CLEAR_ENOUGH for f in known)
    return f"{cloudy} of {len(known)} patches less than {CLEAR_ENOUGH:.0%} clear" + (
        ", which training and tasks take as they are (import with --min-clear)" if cloudy else ""
    )


def check_whole(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco dataset check DATASET`: exit 0 when whole, 2 with a line a problem."""
    from seco.data.check import REMADE, check
    from seco.data.dataset import open_dataset

    parser.add_argument("dataset", type=Path)
    json_flag(parser)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset)
    problems = check(dataset)
    if args.json:
        write_rows(args.json, [dataclasses.asdict(p) for p in problems])
    for problem in problems[:50]:
        print(f"{problem.where}: {problem.what}")
    if problems:
        tiers_only = all(p.what.endswith(REMADE) for p in problems)
        what = "all in training tiers" if tiers_only else "import it again, or restore it from a copy"
        raise DatasetError(f"{args.dataset} has {len(problems)} problems; {what}")
    print(f"{args.dataset} is whole: {len(dataset)} patches, every checksum agrees")
    return 0


def sheet(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco dataset sheet DATASET --out FILE`."""
    from seco.data.dataset import open_dataset
    from seco.data.sheet import draw_dataset_sheet

    parser.add_argument("dataset", type=Path)
    parser.add_argument(
        "--out", type=Path, default=Path("sheet.png"), help="picture to write (default: sheet.png)"
    )
    parser.add_argument("--places", type=int, default=8, help="places to show (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="which places (default: 0)")
    args = parser.parse_args(argv)
    print(draw_dataset_sheet(open_dataset(args.dataset), args.out, num_places=args.places, seed=args.seed))
    return 0


def split(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco dataset split DATASET`: writes splits/NAME.parquet and counts the places in each part."""
    from seco.data.dataset import open_dataset
    from seco.data.split import place_boxes, split_by_block, write_split

    parser.add_argument("dataset", type=Path)
    parser.add_argument(
        "--test-share", type=float, default=0.2, help="share of places to test on (default: 0.2)"
    )
    parser.add_argument(
        "--block-deg", type=float, default=10.0, help="edge of a block, degrees (default: 10)"
    )
    parser.add_argument(
        "--buffer-deg", type=float, default=0.0, help="least gap to a test patch, degrees (default: 0)"
    )
    parser.add_argument("--seed", type=int, default=0, help="which blocks are for testing (default: 0)")
    parser.add_argument("--name", help="name of the split (default: blocks-SEED)")
    json_flag(parser)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset)
    split = split_by_block(
        place_boxes(dataset), seed=args.seed, test_share=args.test_share, block_deg=args.block_deg,
        buffer_deg=args.buffer_deg,
    )  # fmt: skip
    file = write_split(dataset, split, args.name or f"blocks-{args.seed}")
    rows = [{"part": part, "places": num} for part, num in split.counts().items()]
    print_table(rows, ("part", "places"), title=str(file))
    print(f"next: seco pretrain --data {args.dataset} --split {file.stem} --out run")
    if args.json:
        write_rows(args.json, rows)
    return 0
