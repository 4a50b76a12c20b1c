"""What each subcommand does: flags from the settings of the room it calls, then the call. Heavy imports stay inside."""

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seco import config as configs
from seco.errors import ConfigError, DatasetError
from seco.runs import CONFIG_NAME, print_table, write_rows

CLEAR_ENOUGH = 0.8
"""Clear fraction below which `seco dataset info` calls a patch cloudy."""


def _json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help='write the table as {"rows": [...]}')


def dataset_import(parser: argparse.ArgumentParser, argv: list[str]) -> int:
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


def dataset_info(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco dataset info DATASET`."""
    import numpy as np

    from seco.data.dataset import open_dataset

    parser.add_argument("dataset", type=Path)
    _json_flag(parser)
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


def dataset_check(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco dataset check DATASET`: exit 0 when whole, 2 with a line a problem."""
    from seco.data.check import REMADE, check
    from seco.data.dataset import open_dataset

    parser.add_argument("dataset", type=Path)
    _json_flag(parser)
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


def dataset_sheet(parser: argparse.ArgumentParser, argv: list[str]) -> int:
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


def dataset_split(parser: argparse.ArgumentParser, argv: list[str]) -> int:
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
    _json_flag(parser)
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


def views(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco views DATASET --method M --out FILE`: the same draws as in training with these settings."""
    from seco.train.preview import preview

    parser.add_argument("data", type=Path, metavar="DATASET")
    parser.add_argument(
        "--out", type=Path, default=Path("views.png"), help="picture to write (default: views.png)"
    )
    parser.add_argument("--places", type=int, default=4, help="places to show (default: 4)")
    parser.add_argument("--epoch", type=int, default=0, help="whose draws to show (default: 0)")
    config, args = _pretrain_config(parser, argv, skip=("data",))
    config = dataclasses.replace(config, data=args.data)
    for line in preview(config, args.out, num_places=args.places, epoch=args.epoch):
        print(line)
    print(args.out)
    return 0


def _pretrain_config(
    parser: argparse.ArgumentParser, argv: list[str], *, skip: tuple[str, ...] = ()
) -> tuple[Any, argparse.Namespace]:
    """Add the flags of a run and of its method; return the config from file and flags."""
    from seco.methods import _contract as methods
    from seco.train.settings import Pretrain

    first = type(parser)(prog=parser.prog, add_help=False, allow_abbrev=False)
    first.add_argument("--method")
    first.add_argument("--config", type=Path)
    first.add_argument("--out", type=Path)
    first.add_argument("--resume", action="store_true")
    known, _ = first.parse_known_args(argv)
    file = known.config
    if known.resume and file is None and known.out is not None and (known.out / CONFIG_NAME).is_file():
        file = known.out / CONFIG_NAME
    values = configs.read_yaml(file) if file else {}
    name = known.method or values.get("method") or "seco"
    method = methods.find(str(name))
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML file of these settings; flags override it"
    )
    configs.add_arguments(parser, Pretrain, skip=("method_options", *skip))
    group = parser.add_argument_group(
        f"settings of {name} ({', '.join(methods.names())}: see --method M --help)"
    )
    configs.add_arguments(group, method.Options)
    args = parser.parse_args(argv)
    given = vars(args)
    own = {f.name for f in dataclasses.fields(method.Options)}
    options: Mapping[str, Any] = values.get("method_options") or {}
    if not isinstance(options, Mapping):
        raise ConfigError(
            f"method_options is a {type(options).__name__}; it must map setting names to values"
        )
    values["method_options"] = {**options, **{k: v for k, v in given.items() if k in own}}
    if {"steps", "epochs"} & set(given):
        # The flag takes the place of the file's length, whichever way either says it.
        values = {k: v for k, v in values.items() if k not in ("steps", "epochs")}
    common = {f.name for f in dataclasses.fields(Pretrain)} - {"method_options"}
    values.update({k: v for k, v in given.items() if k in common and k not in skip})
    config = configs.build(Pretrain, values)
    config.options()
    return config, args


def pretrain(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco pretrain --data DATASET --method M --out RUN`."""
    parser.add_argument(
        "--out", type=Path, required=True, metavar="RUN", help="run folder to make, or to resume"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint of --out")
    config, args = _pretrain_config(parser, argv)
    from seco.report.curves import draw_curves
    from seco.train.loop import InterruptedRunError
    from seco.train.loop import pretrain as train

    try:
        finished = train(config, args.out, resume=args.resume, say=lambda line: print(line, flush=True))
    except KeyboardInterrupt as err:
        if not (args.out / CONFIG_NAME).is_file():
            raise
        raise InterruptedRunError(
            f"stopped at once; go on from the newest checkpoint: seco pretrain --resume --out {args.out}"
        ) from err
    picture = draw_curves([args.out], args.out / "pictures" / "curves.png")
    print(f"{args.out}: {finished.num_steps} steps in {finished.seconds:.0f} s; curves: {picture}")
    print(f"next: seco evaluate {args.out} random:{config.encoder} colour --task place --data {config.data}")
    return 0


def evaluate(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco evaluate ENCODER ... --task T --data PATH`: flags are the task's own."""
    from seco.probes import evaluation
    from seco.report.scores import print_scores
    from seco.use.load import SOURCES, load_encoder

    first = type(parser)(prog=parser.prog, add_help=False, allow_abbrev=False)
    first.add_argument("--task")
    known, _ = first.parse_known_args(argv)
    parser.add_argument("encoders", nargs="+", metavar="ENCODER", help=SOURCES)
    parser.add_argument("--task", required=True, choices=evaluation.names(), help="what to judge on")
    parser.add_argument(
        "--data", type=Path, required=True, help="dataset; for images also a folder or zip of pictures"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE", help="write every single prediction (Parquet)"
    )
    _json_flag(parser)
    task = evaluation.find(known.task) if known.task else None
    if task is not None:
        parser.epilog = f"example: {task.EXAMPLE}"
        configs.add_arguments(
            parser.add_argument_group(f"settings of {known.task}: {task.HELP}"), task.Options
        )
    args = parser.parse_args(argv)
    assert task is not None  # argparse requires --task
    options = configs.from_args(task.Options, args)
    encoders = [load_encoder(e, bands=_bands_for(e, args.data), device=args.device) for e in args.encoders]
    result = evaluation.evaluate(encoders, args.task, args.data, options)
    print_scores(result.rows, title=f"{args.task}: {task.HELP}")
    if args.json:
        write_rows(args.json, result.rows)
        print(args.json)
    if args.predictions:
        import pyarrow.parquet as pq

        args.predictions.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(result.predictions, args.predictions)
    return 0


def _bands_for(encoder: str, data: Path) -> tuple[Any, ...] | None:
    """Return the dataset's bands for baselines that take any, where they are not plain RGB."""
    from seco.data.format import META_NAME, read_meta

    if encoder == "colour" or encoder.startswith("random:"):
        return read_meta(data).bands if (data / META_NAME).is_file() else None
    return None


def demo(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco demo --out FOLDER`."""
    from seco.demo import Demo, run_demo

    parser.add_argument(
        "--out", type=Path, default=Path("demo-out"), help="folder for everything (default: demo-out)"
    )
    configs.add_arguments(parser, Demo)
    _json_flag(parser)
    args = parser.parse_args(argv)
    rows = run_demo(configs.from_args(Demo, args), args.out)
    if args.json:
        write_rows(args.json, rows)
    return 0
