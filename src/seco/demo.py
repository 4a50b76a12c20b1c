"""`seco demo`: the whole way on real imagery, in minutes, with pictures. Stages are kept; the same command goes on."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from seco.config import setting
from seco.errors import ConfigError, DatasetError, FetchError, TaskError
from seco.runs import CONFIG_NAME, cache_folder, write_rows

TASKS = ("landcover", "climate", "season", "place")
PLANET_TASKS = ("label", "climate", "season", "place")
PLANET_DATES, PLANET_PX = 6, 66
STUDY_STEPS = 500
"""Steps of the shortest study in docs/results."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Settings of the demo: small enough for two cores and a few minutes."""

    source: Literal["auto", "bluemarble", "planet"] = setting(
        "auto",
        "bluemarble: NASA's monthly mosaics, real imagery; planet: a simulated Earth, which needs no network; "
        "auto: Blue Marble, or the planet where it can neither be found nor fetched",
    )
    data: Path | None = setting(
        None,
        "folder of the twelve Blue Marble mosaics; else $SECO_DATA/bluemarble, or fetched once from NASA (21 MB)",
    )
    num_places: int = setting(1500, "places to cut, around the world's cities", flag="--places")
    steps: int = setting(240, "pre-training steps; more take longer and come to more")
    batch_size: int = setting(32, "places a step")
    encoder: str = setting("resnet18", "any timm model")
    seed: int = setting(0, "seed of places, weights and views")
    device: str = setting("auto", "auto, cpu, cuda, ...")

    def __post_init__(self) -> None:
        if self.num_places < 50:
            raise ConfigError(
                f"{self.num_places} places; the demo needs at least 50 to hold some out (--places)"
            )
        if self.source == "planet" and self.data is not None:
            raise ConfigError(
                "--source planet simulates its imagery; leave out --data, or say --source bluemarble"
            )


def find_mosaics(data: Path | None, say: Callable[[str], None]) -> Path:
    """Return the folder of mosaics: the one given, $SECO_DATA/bluemarble, or a fetched copy.

    Raises:
        DatasetError: the folder given does not exist, or nothing serves.
    """
    if data is not None:
        if not data.is_dir():
            raise DatasetError(
                f"--data {data} is not a folder; give the one that holds the twelve Blue Marble mosaics"
            )
        return data
    root = os.environ.get("SECO_DATA")
    if root and (Path(root) / "bluemarble").is_dir():
        return Path(root) / "bluemarble"
    from seco.data.fetching import fetch_bluemarble

    folder = cache_folder() / "bluemarble"
    try:
        return fetch_bluemarble(folder, say=say)
    except FetchError as err:
        raise DatasetError(
            f"no Blue Marble mosaics: --data was not given, $SECO_DATA/bluemarble is not there, and {err}"
        ) from err


def run_demo(demo: Demo, out: Path, *, say: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """Run or go on with the demo in `out`; return the result rows.

    The folder then holds `dataset`, `seco` (the run), `scores.json`, `pictures` and `report` (the page about all of it).
    """
    from seco.data.dataset import open_dataset
    from seco.data.sheet import draw_dataset_sheet

    started = time.perf_counter()

    def stage(text: str) -> None:
        say(f"\n[{time.perf_counter() - started:4.0f} s] {text}")

    folder = out / "dataset"
    if not (folder / "dataset.json").is_file():
        _make_dataset(demo, folder, say, stage)
    dataset = open_dataset(folder)
    made_with = dataset.meta.provenance.get("options", {})
    if dataset.meta.num_places != demo.num_places or made_with.get("seed") != demo.seed:
        raise ConfigError(
            f"{folder} holds {dataset.meta.num_places} places of seed {made_with.get('seed')}, "
            f"asked are {demo.num_places} of seed {demo.seed}; choose another --out or remove it"
        )
    simulated = dataset.meta.provenance.get("importer") == "planet"
    if demo.source != "auto" and simulated != (demo.source == "planet"):
        raise ConfigError(
            f"{folder} holds {'simulated' if simulated else 'Blue Marble'} imagery, --source asks for {demo.source}; "
            "choose another --out or remove it"
        )
    pictures = out / "pictures"
    made = [draw_dataset_sheet(dataset, pictures / "seasons.png", num_places=6, seed=demo.seed)]
    made.append(_draw_views(demo, folder, pictures / "views.png"))
    stage(f"pre-training: SeCo, {demo.encoder}, {demo.steps} steps of {demo.batch_size} places")
    _train(demo, folder, out / "seco", say)
    made.append(_draw_curves(out / "seco", pictures / "curves.png"))
    stage("evaluation: SeCo against colour statistics and random weights, on places held out by block")
    rows = _evaluate(demo, folder, out / "seco", PLANET_TASKS if simulated else TASKS, say)
    if not rows:
        raise TaskError(f"{demo.num_places} places are too few for every task; ask for more (--places)")
    write_rows(out / "scores.json", rows)
    made.append(_draw_scores(rows, pictures / "scores.png"))
    stage("report: what it saw, learnt and came to, on one page")
    page = _report(demo, out)
    stage("done; on places that it never trained on, in percent:")
    for line in _came_to(out):
        say(f"  {line}")
    if demo.steps < STUDY_STEPS:
        say(f"  {demo.steps} steps show the way, not how far it leads: docs/results has longer runs")
    say(f"pictures: {pictures} ({', '.join(p.name for p in made)})")
    say(f"encoder:  {out / 'seco'}    (seco export, seco evaluate, seco finetune take it)")
    say(f"scores:   {out / 'scores.json'}")
    say(f"report:   {page}    (a page for your browser, complete in itself; --open opens it)")
    return rows


def report_page(out: Path) -> Path:
    """Return where the demo in `out` leaves its page."""
    return out / "report" / "index.html"


def _make_dataset(demo: Demo, folder: Path, say: Callable[[str], None], stage: Callable[[str], None]) -> None:
    """Cut the dataset from Blue Marble, or simulate it where that is asked for or nothing else is to be had."""
    from seco.data import importing
    from seco.data.importers.bluemarble import Options as Places

    mosaics = None
    if demo.source != "planet":
        try:
            mosaics = find_mosaics(demo.data, say)
        except DatasetError as err:
            if demo.source == "bluemarble" or demo.data is not None:
                raise
            say(f"{err}\nso the demo goes on with simulated imagery")
    if mosaics is None:
        from seco.planet.build import build_dataset
        from seco.planet.settings import Build

        stage(
            f"dataset: {demo.num_places} places around the world's cities on a simulated planet, "
            f"{PLANET_DATES} dates each"
        )
        build = Build(
            num_places=demo.num_places, seed=demo.seed, num_dates=PLANET_DATES, patch_px=PLANET_PX,
            bands=("B02", "B03", "B04"),
        )  # fmt: skip
        build_dataset(build, folder)
        return
    stage(f"dataset: {demo.num_places} places around the world's cities, twelve months each, from {mosaics}")
    importing.find("bluemarble").run(mosaics, folder, Places(num_places=demo.num_places, seed=demo.seed))


def _draw_views(demo: Demo, folder: Path, out: Path) -> Path:
    from seco.train.preview import preview
    from seco.train.settings import Pretrain

    preview(Pretrain(data=folder, seed=demo.seed, split_seed=demo.seed), out, num_places=3)
    return out


def _train(demo: Demo, folder: Path, run: Path, say: Callable[[str], None]) -> None:
    from seco.train.loop import pretrain
    from seco.train.settings import Pretrain

    config = Pretrain(
        data=folder, method="seco", encoder=demo.encoder, steps=demo.steps, batch_size=demo.batch_size,
        seed=demo.seed, split_seed=demo.seed, device=demo.device,
    )  # fmt: skip
    pretrain(config, run, resume=(run / CONFIG_NAME).is_file(), say=say)


def _draw_curves(run: Path, out: Path) -> Path:
    from seco.report.curves import draw_curves

    return draw_curves([run], out)


def _evaluate(
    demo: Demo, folder: Path, run: Path, tasks: Sequence[str], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    from seco.data.dataset import open_dataset
    from seco.probes import evaluation
    from seco.report.scores import print_scores
    from seco.use.load import load_encoder

    names = (str(run), f"random:{demo.encoder}", "colour")
    bands = open_dataset(folder).meta.bands
    encoders = [load_encoder(n, bands=bands, device=demo.device) for n in names]
    rows: list[dict[str, Any]] = []
    for name in tasks:
        task = evaluation.find(name)
        wanted = ("all",) if name in ("season", "place") else ("features",)
        options = task.Options(outputs=wanted, split_seeds=(demo.seed,))
        try:
            found = evaluation.evaluate(encoders, name, folder, options).rows
        except (TaskError, DatasetError) as err:
            # Too few places for one question are no reason to lose the answers to the others.
            say(f"{name}: left out, {err}")
            continue
        print_scores(found, title=f"{name}: {task.HELP}")
        rows += found
    return rows


def _draw_scores(rows: list[dict[str, Any]], out: Path) -> Path:
    from seco.report.scores import draw_scores

    return draw_scores(rows, out)


def _report(demo: Demo, out: Path) -> Path:
    from seco.report.options import Report
    from seco.report.page import write_report

    settings = Report(scores=(str(out / "scores.json"),), seed=demo.seed % 2**32, device=demo.device)
    page = write_report([out / "seco"], report_page(out).parent, settings, say=_silent)
    assert page == report_page(out)
    return page


def _came_to(out: Path) -> list[str]:
    """Return what the run came to, a line a question, as the page's cards say it."""
    from seco.report.compare import in_words
    from seco.report.facts import read_runs
    from seco.report.rows import find_scores

    return in_words(find_scores(read_runs([out / "seco"]), [out / "scores.json"]))


def _silent(line: str) -> None:
    """Say nothing: the demo has said what it does."""
