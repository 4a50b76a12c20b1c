"""`seco bench`: how fast this machine does it, against others in the same run."""

import argparse
import dataclasses
import os
import sys
import tempfile
from pathlib import Path

from seco.runs import cache_folder, print_table, write_json


def bench(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco bench [FAMILY ...] --rival PATH --lightly --repeats N --json FILE`."""
    from seco.bench import family as families

    known = {n: families.find(n).HELP for n in families.names()}
    parser.epilog = "\n".join(
        ["what can be measured:", *(f"  {n:<10} {h}" for n, h in known.items()), "", parser.epilog or ""]
    )
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"of {', '.join(known)} (default: all)")
    parser.add_argument(
        "--rival", type=Path, metavar="PATH",
        help="checkout of the original's repository, ServiceNow/seasonal-contrast, to measure against",
    )  # fmt: skip
    parser.add_argument("--lightly", action="store_true", help="measure against Lightly's MoCo parts as well")
    parser.add_argument(
        "--repeats",
        type=int,
        help="rounds, in each of which everyone has a turn (default: 5; 2 with --quick)",
    )
    parser.add_argument("--encoder", default="resnet18", help="of timm and torchvision (default: resnet18)")
    parser.add_argument("--batch-size", type=int, help="places a step (default: 32; 4 with --quick)")
    parser.add_argument("--queue-size", type=int, help="keys a queue (default: 16384; 64 with --quick)")
    parser.add_argument(
        "--threads", type=int, help="threads of step and training (default: torch's own number)"
    )
    parser.add_argument(
        "--device", default="auto", help="of step and training: auto, cpu, cuda, ... (default: auto)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn (default: 0)")
    parser.add_argument(
        "--work", type=Path, help="folder for the files measured on, removed at the end (default: in seco's cache)"
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="run everything on next to nothing: a check, no figures"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help='write {"rows", "environment", "settings"}')
    args = parser.parse_args(argv)
    for name in args.families:
        families.find(name)  # a wrong name is refused before anything is measured
    measured = [n for n in known if not args.families or n in args.families]
    return _run(args, measured)


def _run(args: argparse.Namespace, measured: list[str]) -> int:
    import torch

    from seco.bench import family as families
    from seco.bench import original, rivals
    from seco.bench.table import COLUMNS, Row

    def given(value: int | None, *, full: int, quick: int) -> int:
        return value if value is not None else quick if args.quick else full

    root = args.work or cache_folder() / "bench"
    asked = families.Settings(
        work=root, repeats=given(args.repeats, full=5, quick=2), size="quick" if args.quick else "full",
        rival=original.check(args.rival) if args.rival else None, lightly="with" if args.lightly else "without",
        encoder=args.encoder, batch_size=given(args.batch_size, full=32, quick=4),
        queue_size=given(args.queue_size, full=16_384, quick=64), device=args.device, seed=args.seed,
        threads=args.threads if args.threads is not None else torch.get_num_threads(),
    )  # fmt: skip
    about = rivals.machine(threads=asked.threads, rival=asked.rival)
    root.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=root, prefix="bench-") as work:
        for name in measured:
            settings = dataclasses.replace(asked, work=Path(work) / name)
            settings.work.mkdir()
            found = list(families.find(name).measure(settings, _say))
            rows += found
            print_table([r.cells() for r in found], COLUMNS, title=f"{name} ({_legend(settings.repeats)})")
            about["load_after"] = rivals.load()
            if args.json:  # after every family: what is measured is kept, whatever becomes of the rest
                told = dataclasses.asdict(asked) | {"work": None, "families": measured}
                write_json(
                    args.json,
                    {"rows": [dataclasses.asdict(r) for r in rows], "environment": about, "settings": told},
                )
    _print_machine(about)
    if args.quick:
        print("--quick: everything ran, on so little that the figures mean nothing")
    return 0


def _legend(repeats: int) -> str:
    return (
        f"median of {repeats} rounds; ratio: time over that of the row whose ratio is 1; "
        "cpu: processor time of all threads"
    )


def _print_machine(about: dict) -> None:
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    print(
        f"{about['processor']}, {about['num_cpus']} processors, {about['threads']} threads in step and training, "
        f"load {about['load_before']} before and {about['load_after']} after; commit {about['commit']}; {versions}"
    )
    if about["load_before"] and about["load_before"][0] > 0.3 * (os.cpu_count() or 1):
        print("this machine was busy: trust the ratios, and those of processor time first")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
