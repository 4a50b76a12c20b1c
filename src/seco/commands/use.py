"""`seco convert`, `seco export`: encoders in and out."""

import argparse
from pathlib import Path

from seco import config as configs
from seco.errors import ConfigError


def convert(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco convert SOURCE OUT`: a foreign checkpoint to an encoder, or with `--to seco` an encoder to SeCo's layout."""
    from seco.use import convert as converting
    from seco.use.feeding import Options

    layouts = "\n".join(f"  {n:<12} {converting.find(n).HELP}" for n in converting.names())
    parser.epilog = f"layouts:\n{layouts}\n\n{parser.epilog}"
    parser.add_argument(
        "source", type=Path, metavar="SOURCE", help="checkpoint file; with --to seco an encoder"
    )
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="encoder folder to make; with --to seco a .ckpt file"
    )
    parser.add_argument(
        "--to", choices=("encoder", "seco"), default="encoder", help="what to make (default: encoder)"
    )
    configs.add_arguments(parser, Options)
    args = parser.parse_args(argv)
    options = configs.from_args(Options, args)
    if args.to == "seco":
        return _to_seco(args.source, args.out, options)
    done = converting.convert(args.source, args.out, options)
    spec = done.encoder.spec
    for what, number in done.dropped.items():
        print(f"left out: {what}: {number}")
    if done.filled:
        print(
            f"filled: {len(done.filled)} counters of batch norm, which the file lacks and features do not use"
        )
    for note in done.notes:
        print(f"note: {note}")
    print(f"licence: {spec.licence}")
    bands = ", ".join(b.name for b in spec.bands)
    outputs = ", ".join(done.encoder.outputs)
    print(
        f"{args.out}: {spec.arch} ({done.layout} layout), {bands} ({spec.bands[0].units}), outputs {outputs}"
    )
    return 0


def _to_seco(source: Path, out: Path, options: object) -> int:
    from seco.nets.encoder import Encoder
    from seco.use.convert import to_seco
    from seco.use.feeding import Options
    from seco.use.load import load_encoder

    if options != Options():
        raise ConfigError("--to seco takes an encoder as it is; the other settings describe foreign files")
    encoder = load_encoder(source, device="cpu")
    if not isinstance(encoder, Encoder):
        raise ConfigError(f"{source} has no weights to write")
    content = to_seco(encoder, out)
    print(
        "added: encoder_k, heads_k (copies of the query side) and a queue of noise, which the layout demands"
    )
    print("not in the layout: bands, units, mean and deviation; SeCo's code feeds its own")
    print(f"{out}: {len(content['state_dict'])} entries, heads {', '.join(encoder.spec.heads)}")
    return 0


def export(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco export ENCODER OUT --format F`."""
    from seco.nets.encoder import Encoder
    from seco.use.export import Options
    from seco.use.export import export as write
    from seco.use.load import SOURCES, load_encoder

    parser.add_argument("encoder", metavar="ENCODER", help=SOURCES)
    parser.add_argument("out", type=Path, metavar="OUT", help="file or folder to make")
    configs.add_arguments(parser, Options)
    args = parser.parse_args(argv)
    options = configs.from_args(Options, args)
    encoder = load_encoder(args.encoder, device="cpu")
    if not isinstance(encoder, Encoder):
        raise ConfigError(f"{args.encoder} has no weights to write")
    for line in write(encoder, args.out, options):
        print(line)
    return 0
