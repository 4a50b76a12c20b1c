"""`seco places OUT`: where to look."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seco import config as configs
from seco.commands._common import json_flag
from seco.errors import ConfigError
from seco.runs import print_table, write_rows

COLUMNS = ("class", "places", "share")
PICTURES = (".png", ".pdf", ".svg")
AIMS = ("natural_share", "target_share")


def places(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco places OUT`: draw places, write them as GeoParquet, map them and count them."""
    from seco.data.sheet import save_figure
    from seco.places.map import draw_map
    from seco.places.settings import Places
    from seco.places.table import count_rows, make_places

    parser.add_argument("out", type=Path, help="GeoParquet file to make (.parquet or .geoparquet)")
    configs.add_arguments(parser, Places)
    parser.add_argument("--map", type=Path, metavar="FILE", help="world map to draw (default: OUT with .png)")
    json_flag(parser)
    args = parser.parse_args(argv)
    settings = configs.from_args(Places, args)
    picture = args.map or args.out.with_suffix(".png")
    if picture.suffix.lower() not in PICTURES:
        raise ConfigError(f"map {picture}: give a name that ends in {', '.join(PICTURES)} (--map)")
    made = make_places(settings, args.out)
    drawn = made.drawn
    rows = count_rows(made)
    spare = made.table.num_rows - made.num
    kinds = ("continent", "climate group", "landcover")
    _print(rows, kinds)
    for note in made.notes:
        print(f"note: {note}")
    title = f"{made.num:,} places"
    save_figure(draw_map(made.table.slice(0, made.num), title=title, note=_how(settings)), picture)
    reasons = ", ".join(f"{n:,} by {by}" for by, n in drawn.turned_down.items())
    print(f"{drawn.tried:,} candidates, of which turned down: {reasons or 'none'}")
    print(f"{args.out}: {made.num:,} places{f' and {spare:,} spare' if spare else ''}; map: {picture}")
    num = f" --num {made.num}" if spare else ""
    print(f"next: seco collect --places {args.out}{num} --from 2023-01-01 --to 2024-12-31 --out patches.seco")
    if args.json:
        write_rows(args.json, rows)
    return 0


def _print(rows: Sequence[dict[str, Any]], kinds: Sequence[str]) -> None:
    """Print counts with the natural and target shares of what is balanced; what has too many classes is in the JSON."""
    balanced = {r["kind"] for r in rows if r["target_share"] is not None}
    for kind in (*kinds, *sorted(balanced - set(kinds))):
        of_kind = [
            r | {s: f"{r[s]:.2%}" for s in ("share", *AIMS) if r[s] is not None}
            for r in rows
            if r["kind"] == kind
        ]
        columns = (*COLUMNS, *(AIMS if kind in balanced else ()))
        print_table(of_kind[:40], columns, title=kind)
        if len(of_kind) > 40:
            print(f"  ... and {len(of_kind) - 40} more (--json)")


def _how(settings: Any) -> str:
    """Say in a line how places were drawn."""
    parts = []
    if settings.points is not None:
        parts.append(f"from {settings.points.name}")
    elif settings.sampler == "land":
        parts.append("uniform on land")
    else:
        parts.append(
            f"around the {settings.num_cities:,} most populous cities, Gaussian of {settings.sigma_km:g} km"
        )
    if settings.within is not None:
        parts.append(f"within {settings.within.name}")
    if settings.balance:
        parts.append(f"balanced by {' and '.join(settings.balance)}")
    if settings.min_distance_km:
        parts.append(f"{settings.min_distance_km:g} km apart")
    if not settings.overlap:
        parts.append("without overlap")
    return ", ".join([*parts, f"seed {settings.seed}"])
