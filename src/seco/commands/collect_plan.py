"""`seco collect plan`, and `seco collect --estimate`: what a collection would fetch, without fetching it."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seco import config as configs
from seco.errors import ConfigError
from seco.runs import print_table, write_rows

if TYPE_CHECKING:
    from seco.collect.collecting import Forecast
    from seco.collect.planner import Survey
    from seco.collect.settings import Collect

COLUMNS = (
    "places", "looked_at", "patches", "searches", "search_hours", "requests", "gb_fetched", "hours", "gb_disk",
)  # fmt: skip


def plan(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco collect plan --places P --from A --to B --out D`: counts, reasons, and what it costs."""
    from seco.collect.settings import Collect

    parser.add_argument(
        "--out", type=Path, required=True, metavar="DATASET",
        help="dataset to be; searches are kept beside it, and `seco collect` with the same settings goes on with them",
    )  # fmt: skip
    rate_flag(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of words")
    configs.add_arguments(parser, Collect)
    args = parser.parse_args(argv)
    show(configs.from_args(Collect, args), args.out, rate=args.rate, as_json=args.json)
    return 0


def rate_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--rate`."""
    parser.add_argument(
        "--rate", type=float, metavar="N",
        help="windows (a band of a patch) a second to reckon with; default: that of earlier calls there, else 100",
    )  # fmt: skip


def show(
    settings: "Collect", out: Path, *, rate: float | None, as_json: bool = False, file: Path | None = None
) -> None:  # fmt: skip
    """Plan, and print what the plan holds and costs; write the table of costs to a file where one is given."""
    from seco.collect.collecting import forecast

    if rate is not None and rate <= 0:
        raise ConfigError(f"--rate {rate:g}; it must be above 0")
    found = forecast(settings, out, windows_a_second=rate)
    if file is not None:
        write_rows(file, found.rows)
    if as_json:
        told = {"settings": configs.to_plain(settings), **found.survey.to_json(), "estimate": found.rows}
        print(json.dumps(told, indent=2, default=str))
        return
    for line in words(found.survey, settings):
        print(line)
    print_table(_shown(found), COLUMNS, title="what it costs, if every scene is as its metadata say")
    print(
        f"at {found.rate.windows_a_second:.0f} windows a second ({found.rate.source}); headers and whole blocks included, "
        "neighbours that share blocks not"
    )
    print("next: the same command without `plan` and --estimate; it does not search again")


def _shown(found: "Forecast") -> list[dict[str, Any]]:
    return [{k: f"{v:,}" for k, v in row.items()} for row in found.rows]


def words(survey: "Survey", settings: "Collect") -> list[str]:
    """Return a survey as lines."""
    first, last = settings.days
    lines = [
        f"{first} to {last}, {settings.seasons} {settings.rule} seasons, cloud up to {settings.max_cloud:g}%",
        f"{survey.num_places} places: {survey.num_planned} with a plan, {survey.num_whole} with all seasons",
    ]
    lines += [f"  {num:>8} {reason}" for reason, num in survey.reasons.items()]
    lines.append(
        f"{survey.num_patches} patches from {survey.num_scenes} scenes, of {survey.num_found} that were found"
    )
    if survey.dropped:
        lines.append("items left out:")
        lines += [f"  {num:>8} {reason}" for reason, num in survey.dropped.items()]
    return lines
