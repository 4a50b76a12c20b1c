"""`seco collect plan`: what a collection would fetch, without fetching it."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from seco import config as configs

if TYPE_CHECKING:
    from seco.collect.planner import Survey
    from seco.collect.settings import Collect


def plan(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco collect plan --places P --from A --to B`: counts, reasons and an estimate of the bytes."""
    from seco.collect.settings import Collect

    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the collection, where searches are kept"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of words")
    configs.add_arguments(parser, Collect)
    args = parser.parse_args(argv)
    print_survey(configs.from_args(Collect, args), args.out, as_json=args.json)
    return 0


def print_survey(settings: "Collect", out: Path, *, as_json: bool) -> None:
    """Plan, and print what the plan holds."""
    from seco.collect.catalogs import catalog_of
    from seco.collect.planner import Planner, read_places
    from seco.errors import ConfigError

    if settings.places is None:
        raise ConfigError("no places; give a file of them (--places), such as `seco places` writes")
    planner = Planner(
        read_places(settings.places),
        catalog_of(settings.catalog, collection=settings.collection),
        settings=settings,
        folder=out,
    )
    survey = planner.survey()
    if as_json:
        print(json.dumps({"settings": configs.to_plain(settings), **survey.to_json()}, indent=2, default=str))
        return
    for line in words(survey, settings):
        print(line)


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
    lines.append(
        f"estimate: {survey.requests} requests, {survey.fetched_bytes / 1e9:.2f} GB to fetch, "
        f"{survey.pixel_bytes / 1e9:.2f} GB of pixels before compression"
    )
    return lines
