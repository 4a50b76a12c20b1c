"""`seco planet ...`: a simulated Earth, as a dataset, as scenes, and served."""

import argparse
from pathlib import Path

from seco import config as configs


def build(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco planet build OUT`: a simulated dataset."""
    from seco.data.writer import require_new
    from seco.planet.build import BIG_PATCHES, build_dataset, estimate
    from seco.planet.settings import Build

    parser.add_argument("out", type=Path, help="dataset folder to make")
    configs.add_arguments(parser, Build)
    args = parser.parse_args(argv)
    asked = configs.from_args(Build, args)
    if asked.num_places * asked.num_dates >= BIG_PATCHES:
        require_new(args.out)
        print(estimate(asked), flush=True)
    report = build_dataset(asked, args.out)
    for note in report.notes:
        print(f"note: {note}")
    print(f"{args.out}: {report.num_places} simulated places, {report.num_patches} patches")
    print(f"next: seco dataset sheet {args.out} --out sheet.png")
    return 0


def scenes(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco planet scenes OUT --places N | --points FILE`: a catalogue, and scenes on disk where asked."""
    from seco.planet.catalogue.making import Scenes, make_scenes

    parser.add_argument("out", type=Path, help="folder to make, or to go on with after a stop")
    configs.add_arguments(parser, Scenes)
    args = parser.parse_args(argv)
    made = make_scenes(configs.from_args(Scenes, args), args.out, say=lambda line: print(line, flush=True))
    if made.num_items is not None:
        print(f"{args.out}: {made.num_items} simulated scenes; tiles: {made.num_tiles}")
    if made.num_files:
        print(f"{args.out}: {made.num_files} files, {made.num_bytes / 1e6:.1f} MB")
    print(f"next: seco planet serve {args.out}")
    return 0


def serve(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco planet serve OUT`: pixels and STAC API on loopback, until Ctrl-C."""
    import signal
    import threading

    from seco.planet.serving.serve import PIXELS_PORT, STAC_PORT, PlanetServer

    parser.add_argument("out", type=Path, help="folder that `seco planet scenes` made")
    parser.add_argument(
        "--port",
        type=int,
        default=PIXELS_PORT,
        help=f"port of the pixels, 0: a free one (default: {PIXELS_PORT})",
    )
    parser.add_argument(
        "--stac-port",
        type=int,
        default=STAC_PORT,
        help=f"port of the STAC API, 0: a free one (default: {STAC_PORT})",
    )
    parser.add_argument(
        "--faults",
        default="",
        metavar="TEXT",
        help="what goes wrong with pixels, such as '500@0.05; delay=0.1' (default: nothing)",
    )
    args = parser.parse_args(argv)
    stopped = threading.Event()
    kept = {s: signal.signal(s, lambda *_: stopped.set()) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        server = PlanetServer(args.out, port=args.port, stac_port=args.stac_port, faults=args.faults)
        with server:
            print(f"pixels    {server.pixels_url}")
            print(f"STAC API  {server.stac_url}")
            print(f"next      {server.collecting}", flush=True)
            while not stopped.wait(0.5):
                server.check()
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    print("stopped")
    return 0
