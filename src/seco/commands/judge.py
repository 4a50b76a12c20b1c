"""`seco evaluate`: encoders on a task; `seco compare`: tables of what came out."""

import argparse
from pathlib import Path
from typing import Any

from seco import config as configs
from seco.commands._common import json_flag
from seco.errors import ConfigError, TaskError
from seco.runs import write_atomic, write_rows

PICTURES = {
    "--picture": "the scores, or with --shots learning curves",
    "--confusion": "confusion matrices",
    "--errors": "examples of what was misjudged",
}


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
        "--data", type=Path, required=True,
        help="dataset; of labelled pictures and OSCD also a folder or zip, of BigEarthNet and masks a folder",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE", help="write every single prediction (Parquet)"
    )
    for flag, words in PICTURES.items():
        parser.add_argument(flag, type=Path, metavar="FILE", help=f"draw {words} (.png, .pdf or .svg)")
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
    print_scores(_told_apart(result.rows, options.size), title=f"{args.task}: {task.HELP}")
    if args.json:
        write_rows(args.json, result.rows)
        print(args.json)
    if args.predictions:
        import pyarrow.parquet as pq

        args.predictions.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(result.predictions, args.predictions)
    _draw(result, args, _told_apart(result.rows, options.size))
    return 0


def _told_apart(rows: list[dict[str, Any]], sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """Name encoders by size where there are several, as their predictions are."""
    from seco.probes.evaluation import sized

    if len(sizes) < 2:
        return rows
    return [r | {"encoder": sized(r["encoder"], r["size"])} for r in rows]


def _draw(result: Any, args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Draw the pictures asked for."""
    if args.picture:
        from seco.report.learning import draw_learning
        from seco.report.scores import draw_scores

        few = any(r.get("shots") is not None for r in rows)
        print((draw_learning if few else draw_scores)(rows, args.picture))
    if args.confusion:
        from seco.report.mistakes import draw_confusion

        print(draw_confusion(result.predictions, args.confusion))
    if args.errors:
        from seco.data.dataset import open_dataset
        from seco.report.mistakes import draw_errors

        if result.dataset is None:
            raise TaskError(f"task {args.task} does not say which patches it judged; leave out --errors")
        print(draw_errors(result.predictions, open_dataset(result.dataset), args.errors))


def compare(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco compare SCORES.json ...`: several encoders and tasks in one table."""
    parser.add_argument(
        "scores", nargs="+", type=Path, metavar="SCORES", help="files that `seco evaluate --json` wrote"
    )
    parser.add_argument(
        "--format",
        default="table",
        choices=("table", "json", "csv", "markdown", "latex"),
        help="(default: table)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the table there; a table is printed too"
    )
    parser.add_argument(
        "--predictions", type=Path, nargs="+", metavar="FILE", default=[],
        help="files that `seco evaluate --predictions` wrote: paired differences to --reference are added",
    )  # fmt: skip
    parser.add_argument(
        "--reference", metavar="ENCODER", help="encoder that the others are compared with, patch by patch"
    )
    args = parser.parse_args(argv)
    if bool(args.predictions) != bool(args.reference):
        raise ConfigError(
            "--predictions and --reference go together: the files, and the encoder to compare with"
        )
    if args.format == "table" and args.out:
        raise ConfigError(f"--out {args.out} wants --format json, csv, markdown or latex")
    from seco.probes import evaluation
    from seco.report import comparison

    table = comparison.arrange(comparison.read_rows(args.scores))
    differences: list[dict[str, Any]] = []
    if args.reference:
        differences = evaluation.compare(comparison.read_predictions(args.predictions), args.reference)
    if args.format == "table":
        comparison.print_comparison(table, differences)
        return 0
    text = comparison.render(table, differences, args.format)
    if args.out:
        write_atomic(args.out, text)
        print(args.out)
    else:
        print(text, end="")
    return 0


def _bands_for(encoder: str, data: Path) -> tuple[Any, ...] | None:
    """Return the dataset's bands for baselines that take any, where they are not plain RGB."""
    from seco.data.format import META_NAME, read_meta

    if encoder == "colour" or encoder.startswith("random:"):
        return read_meta(data).bands if (data / META_NAME).is_file() else None
    return None
