"""`seco demo`: the whole way."""

import argparse
from pathlib import Path

from seco import config as configs
from seco.commands._common import json_flag
from seco.runs import write_rows


def demo(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco demo --out FOLDER`."""
    from seco.commands.report import open_flag, show
    from seco.demo import Demo, report_page, run_demo

    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo-out"),
        metavar="DIR",
        help="folder for everything; the same command goes on after a stop (default: demo-out)",
    )
    configs.add_arguments(parser, Demo)
    json_flag(parser)
    open_flag(parser)
    args = parser.parse_args(argv)
    rows = run_demo(configs.from_args(Demo, args), args.out)
    if args.json:
        write_rows(args.json, rows)
    if args.open:
        show(report_page(args.out))
    return 0
