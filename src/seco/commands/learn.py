"""`seco views` and `seco pretrain`: what a method sees, and what it learns."""

import argparse
import dataclasses
import io
from collections.abc import Mapping
from contextlib import nullcontext, redirect_stderr
from pathlib import Path
from typing import Any

from seco import config as configs
from seco.errors import ConfigError
from seco.runs import CONFIG_NAME


def views(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco views DATASET --method M --out FILE`: the same draws as in training with these settings."""
    from seco.train.preview import preview

    parser.add_argument("data", type=Path, metavar="DATASET")
    parser.add_argument(
        "--out", type=Path, default=Path("views.png"), help="picture to write (default: views.png)"
    )
    parser.add_argument("--places", type=int, default=4, help="places to show (default: 4)")
    parser.add_argument("--epoch", type=int, default=0, help="whose draws to show (default: 0)")
    config, args = pretrain_config(parser, argv, skip=("data",))
    config = dataclasses.replace(config, data=args.data)
    for line in preview(config, args.out, num_places=args.places, epoch=args.epoch):
        print(line)
    print(args.out)
    return 0


def pretrain_config(
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
    """`seco pretrain --data DATASET --method M --out RUN`, or with --estimate what that will take."""
    parser.add_argument("--out", type=Path, metavar="RUN", help="run folder to make, or to resume")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint of --out")
    parser.add_argument(
        "--profile", action="store_true", help="say at the end where the time went; also in RUN/profile.json"
    )
    parser.add_argument(
        "--estimate",
        action="store_true",
        help="make a few steps, say what time, memory and disk the run will take, and stop; no run folder is made",
    )
    parser.add_argument(
        "--price-per-hour", type=float, metavar="PRICE", help="of the machine: --estimate gives money too"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the estimate there too")
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N",
        help="train in N processes on this machine, a GPU each where there are any (default: 1); more machines: torchrun",
    )  # fmt: skip
    from seco.train.team import join

    with join() as team:
        # Process 0 says what is wrong with the flags, and nobody else.
        with team.together(), nullcontext() if team.leads else redirect_stderr(io.StringIO()):
            config, args = pretrain_config(parser, argv)
        if args.estimate:
            if args.processes > 1 or team.processes.size > 1:
                raise ConfigError("--estimate measures one process; leave out --processes")
            return _estimate(config, args)
        if args.out is None:
            raise ConfigError("required: --out RUN (--estimate alone needs none)")
        for flag in ("price_per_hour", "json"):
            if getattr(args, flag) is not None:
                raise ConfigError(
                    f"--{flag.replace('_', '-')} belongs to --estimate; add it, or leave this out"
                )
        if args.processes < 1:
            raise ConfigError(f"{args.processes} processes; at least 1 (--processes)")
        if args.processes > 1 and team.processes.size == 1:
            from seco.train.launch import launch

            return launch(["pretrain", *argv], args.processes)
        finished = _trained(config, args, team)
    if not team.leads:
        return 0
    from seco.report.curves import draw_curves

    picture = draw_curves([args.out], args.out / "pictures" / "curves.png")
    print(f"{args.out}: {finished.num_steps} steps in {finished.seconds:.0f} s; curves: {picture}")
    print(f"next: seco evaluate {args.out} random:{config.encoder} colour --task place --data {config.data}")
    return 0


def _trained(config: Any, args: argparse.Namespace, team: Any) -> Any:
    from seco.nets.phases import Phases
    from seco.train.loop import pretrain as train
    from seco.train.stopping import InterruptedRunError

    try:
        return train(
            config,
            args.out,
            resume=args.resume,
            say=lambda line: print(line, flush=True),
            team=team,
            phases=Phases() if args.profile else None,
        )
    except KeyboardInterrupt as err:
        if not (args.out / CONFIG_NAME).is_file():
            raise
        raise InterruptedRunError(
            f"stopped at once; go on from the newest checkpoint: seco pretrain --resume --out {args.out}"
        ) from err


def _estimate(config: Any, args: argparse.Namespace) -> int:
    """Print what a run will take."""
    from seco.runs import environment, print_table, write_json
    from seco.train import estimate

    if args.resume or args.profile:
        raise ConfigError("--estimate measures a run that is not there yet; leave out --resume and --profile")
    measured = estimate.measure(config)
    rows = estimate.rows(measured, price_per_hour=args.price_per_hour)
    about = estimate.about(measured)
    print(
        f"{config.method}, {config.encoder} on {measured.device} in {measured.precision}: {1000 * measured.step_s:.0f} ms a "
        f"step of {measured.config.batch_size} places ({about['samples_per_s']:.0f} samples/s); the median of "
        f"{estimate.NUM_STEPS - estimate.NUM_WARM} steps; {measured.epochs:.3g} passes over the places in each row"
    )
    print_table(rows, [k for k in rows[0] if k != "seconds"])
    if args.json:
        write_json(args.json, {"rows": rows, "measured": about, "environment": environment()})
    return 0
