"""`seco collect`: seasonal patches of places from a STAC catalogue."""

import argparse
from pathlib import Path
from typing import Any

from seco import config as configs
from seco.commands._common import json_flag
from seco.commands.collect_plan import rate_flag, show
from seco.runs import print_table, write_rows


def collect(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco collect --places P --catalog C --from D --to D --out DATASET`; the same command goes on after a stop."""
    from seco.collect.settings import Collect

    parser.add_argument(
        "--out", type=Path, required=True, metavar="DATASET", help="dataset to make, or to go on with"
    )
    parser.add_argument(
        "--pictures", choices=("yes", "no"), default="yes", help="draw a map and a sheet at the end (default: yes)"
    )  # fmt: skip
    parser.add_argument(
        "--estimate", action="store_true",
        help="plan, and say what it costs (searches, requests, bytes, hours, disk); no pixels are fetched",
    )  # fmt: skip
    rate_flag(parser)
    configs.add_arguments(parser, Collect)
    json_flag(parser)
    args = parser.parse_args(argv)
    settings = configs.from_args(Collect, args)
    if args.estimate:
        show(settings, args.out, rate=args.rate, file=args.json)
        return 0
    from seco.collect import collecting
    from seco.collect.display import Display

    with Display(lambda line: print(line, flush=True)) as display:
        done = collecting.collect(settings, args.out, show=display.show)
    rows = _rows(done)
    if done.was_whole:
        print(f"{args.out} is whole already; nothing was fetched")
    print_table(rows, ("what", "which", "number"), title=str(args.out))
    for note in done.notes:
        print(f"note: {note}")
    if args.pictures == "yes":
        from seco.collect.pictures import draw_pictures

        for picture in draw_pictures(args.out):
            print(picture)
    if args.json:
        write_rows(args.json, rows)
    print(f"next: seco dataset check {args.out}")
    return 0


def _rows(done: Any) -> list[dict[str, Any]]:
    """Return the summary as rows of one table."""
    tally, counts = done.tally, done.counts
    rows: list[tuple[str, str, Any]] = [
        ("places", "taken", done.num_places),
        *(("places", f"missed: {reason}", n) for reason, n in tally.missed.items()),
        ("patches", "taken", done.num_patches),
        *(("scenes", f"turned down: {reason}", n) for reason, n in tally.rejected.items()),
        *(("items", f"left out: {reason}", n) for reason, n in done.dropped.items()),
    ]
    if not done.was_whole:
        rows += [
            ("this call", "seconds", round(done.seconds, 1)),
            ("this call", "patches", done.num_new),
            ("this call", "patches a second", round(done.num_new / max(done.seconds, 1e-9), 2)),
            ("this call", "MB fetched", round(counts.num_bytes / 1e6, 1)),
            ("this call", "requests", counts.requests),
            ("this call", "tries again", counts.retries),
            *(("faults", f"{kind} at {host}", n) for (host, kind), n in sorted(counts.faults.items())),
        ]
    return [{"what": what, "which": which, "number": number} for what, which, number in rows]
