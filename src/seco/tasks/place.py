"""Place: find a place again in other seasons, among all others."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Integer

from seco.config import setting
from seco.data.dataset import Dataset, open_dataset
from seco.data.overlap import overlapping
from seco.data.split import TEST, place_boxes
from seco.errors import ConfigError, TaskError
from seco.nets.encoder import FeatureExtractor
from seco.probes.blocks import splits
from seco.probes.features import FeatureStore
from seco.probes.options import ALL, BlockOptions, chosen_outputs
from seco.probes.overlap import is_transductive
from seco.probes.result import Headline, Row, TaskResult, gather, origin, prediction_table
from seco.probes.retrieval import Ranking, rank
from seco.probes.scores import bootstrap

NAME = "place"
HELP = (
    "find a place again in other seasons among all other test places: mAP and CMC@1/5/10; held out by block"
)
EXAMPLE = "seco evaluate runs/seco colour --task place --data bluemarble-6000 --outputs features,z0 --json place.json"
HEADLINE = Headline(
    title="A place found again in another season", probe="retrieval", metric="map",
    words="mean average precision among held-out places",
)  # fmt: skip

PROBE = "retrieval"
RANKS = (1, 5, 10)
_QUERIES = 0x9E57
"""Word after the seed for drawing queries."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(BlockOptions):
    """Settings of the place task."""

    outputs: tuple[str, ...] = setting(
        (ALL,), "outputs to judge: features, z0, z1, ... with commas, or all that there are"
    )
    num_queries: int = setting(
        2000, "most queries; more test patches than this are drawn from, evenly over the places"
    )

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        if self.num_queries < 1:
            raise ConfigError(f"queries {self.num_queries}; give at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Search:
    """One gallery and its queries."""

    rows: Integer[np.ndarray, " gallery"]
    place: Integer[np.ndarray, " gallery"]
    queries: Integer[np.ndarray, " queries"]
    ignore: Bool[np.ndarray, "queries places"]
    boxes: Float[np.ndarray, "places 4"]


def run(encoder: FeatureExtractor, data: Path, options: Options) -> TaskResult:
    """Judge how well an encoder recognises places across seasons."""
    dataset = open_dataset(data)
    outputs = chosen_outputs(options.outputs, encoder.outputs, encoder.name)
    store = FeatureStore(encoder, dataset, options)
    boxes = place_boxes(dataset)
    rows: list[Row] = []
    tables: list[pa.Table] = []
    for split, words in splits(dataset, options):
        search = _search(dataset, boxes, split.part == TEST, options.num_queries, split.seed)
        features = store.get(search.rows, outputs)
        group = split.block[dataset.place[search.rows[search.queries]]].astype(np.int64)
        common = {
            "encoder": encoder.name,
            "task": NAME,
            "probe": PROBE,
            "seed": split.seed,
            "split": words,
            "num_classes": len(search.boxes),
            "num_test": len(search.queries),
            "num_groups": len(np.unique(group)),
            "num_left_out": int((split.part == TEST).sum()) - len(search.boxes),
            "left_out": "test places with fewer than two dates",
            "transductive": is_transductive(encoder.spec, search.boxes),
            **origin(store),
        }
        dates = dataset.dates[search.rows].astype(np.int64)
        for output in outputs:
            found = rank(
                features[output],
                search.queries,
                search.place,
                dates,
                ignore=search.ignore,
                device=store.device,
            )
            rows += _rows(found, group, common | {"output": output}, options.num_draws)
            names = [dataset.place_ids[p] for p in dataset.place[search.rows]]
            tables.append(
                prediction_table(
                    encoder=encoder.name,
                    task=NAME,
                    probe=PROBE,
                    output=output,
                    seed=split.seed,
                    row=search.rows[search.queries],
                    group=group,
                    truth=[names[i] for i in search.queries],
                    predicted=[names[i] for i in found.nearest],
                    score=found.precision,
                )
            )
    return gather(rows, tables, options)


def _search(
    dataset: Dataset,
    boxes: Float[np.ndarray, "places 4"],
    test: Bool[np.ndarray, " places"],
    num: int,
    seed: int,
) -> _Search:
    """Gather the dated patches of all test places with two dates or more, and draw queries among them.

    Raises:
        TaskError: fewer than two test places have two dates.
    """
    dated = np.flatnonzero(test[dataset.place] & ~np.isnat(dataset.dates))
    pairs = np.unique(
        np.stack([dataset.place[dated].astype(np.int64), dataset.dates[dated].astype(np.int64)]), axis=1
    )
    num_dates = np.bincount(pairs[0], minlength=len(test))
    if (num_dates >= 2).sum() < 2:
        raise TaskError(
            f"{dataset.path}: {int((num_dates >= 2).sum())} of {int(test.sum())} test places have two dates or more; "
            "finding a place in another season needs two such places at least"
        )
    rows = dated[num_dates[dataset.place[dated]] >= 2]
    places, place = np.unique(dataset.place[rows], return_inverse=True)
    draw = np.random.default_rng([seed, _QUERIES]).random(len(dataset))[rows]
    # The first draw of every place, then the second of every place, and so on.
    order = np.lexsort((draw, place))
    turn = np.arange(len(order)) - np.searchsorted(place[order], place[order])
    queries = np.sort(order[np.lexsort((draw[order], turn))][:num])
    asked, which = np.unique(place[queries], return_inverse=True)
    alike = np.zeros((len(asked), len(places)), bool)
    alike[tuple(overlapping(boxes[places][asked], boxes[places]).T)] = True
    return _Search(rows=rows, place=place, queries=queries, ignore=alike[which], boxes=boxes[places])


def _rows(found: Ranking, group: np.ndarray, common: dict[str, Any], num_draws: int) -> list[Row]:
    """Return mAP and CMC rows with their intervals."""
    scores = {"map": found.precision}
    scores |= {f"cmc@{r}": found.found_within(r).astype(np.float64) for r in RANKS}
    out = []
    for metric, values in scores.items():
        interval = bootstrap(values, group, num_draws=num_draws, seed=common["seed"])
        out.append(
            Row(
                metric=metric,
                value=float(values.mean()),
                ci_low=interval.low if interval else None,
                ci_high=interval.high if interval else None,
                **common,
            )
        )
    return out
