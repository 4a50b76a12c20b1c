"""`seco evaluate`: encoders on a task."""

import argparse
from pathlib import Path
from typing import Any

from seco import config as configs
from seco.commands._common import json_flag
from seco.runs import write_rows


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
    json_flag(parser)
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
