"""`seco finetune`, `seco predict`: an encoder on one's own labels, and the map of a scene."""

import argparse
from pathlib import Path

from seco import config as configs
from seco.errors import ConfigError


def finetune(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco finetune ENCODER OUT --data PATH ... [--labels FILE]`."""
    from seco.nets.encoder import Encoder
    from seco.use.finetune import Options
    from seco.use.finetune import finetune as train
    from seco.use.load import SOURCES, load_encoder

    parser.add_argument("encoder", metavar="ENCODER", help=SOURCES)
    parser.add_argument("out", type=Path, metavar="OUT", help="model folder to make, for `seco predict`")
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True,
        help="images in a folder a class; folders images/ and masks/; OSCD's folders; with --labels: scenes",
    )  # fmt: skip
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="points or polygons over the scenes (GeoJSON, GeoPackage)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in OUT")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")
    configs.add_arguments(parser, Options)
    args = parser.parse_args(argv)
    file = args.out / "config.yaml" if args.resume and (args.out / "config.yaml").is_file() else None
    options = configs.from_args(Options, args, file)
    encoder = load_encoder(args.encoder, device=args.device)
    if not isinstance(encoder, Encoder):
        raise ConfigError(
            f"{args.encoder} has no weights to start from; give a run, random:ARCH or imagenet:ARCH"
        )
    start = "resume" if args.resume else "new"
    done = train(encoder, args.data, args.out, options, labels=args.labels, start=start)  # type: ignore[arg-type]
    print(
        f"{args.out}: validation {done.best_score:.4f} at step {done.best_step} of {done.num_steps} trained"
    )
    return 0


def predict(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco predict MODEL SCENE OUT.tif [--after LATER]`."""
    from seco.use.model import load_model
    from seco.use.predict import Options
    from seco.use.predict import predict as write

    parser.add_argument("model", type=Path, metavar="MODEL", help="model folder that `seco finetune` made")
    parser.add_argument(
        "scene", type=Path, metavar="SCENE", help="raster or NetCDF file, or a folder with a file a band"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="GeoTIFF to write")
    parser.add_argument("--after", type=Path, metavar="SCENE", help="the later scene, for a model of change")
    parser.add_argument("--after-date", metavar="DATE", help="its date, where its files hold several")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")
    configs.add_arguments(parser, Options)
    args = parser.parse_args(argv)
    options = configs.from_args(Options, args)
    model = load_model(args.model, device=args.device)
    done = write(model, args.scene, args.out, options, after=args.after, after_date=args.after_date)
    for note in done.notes:
        print(f"note: {note}")
    print(f"{done.out}: {done.grid.describe()}")
    for name, share in sorted(done.shares.items(), key=lambda kv: -kv[1]):
        print(f"  {share:7.2%}  {name}")
    return 0
