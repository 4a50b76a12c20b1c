"""Split places into training and test by spatial block: no pixel of a test patch lies in any training patch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from seco.data.dataset import Dataset
from seco.data.overlap import touched
from seco.data.writer import disk_errors
from seco.errors import ConfigError, DatasetError

TRAIN, TEST, DROPPED = 0, 1, 2
MIN_BLOCKS = 10
"""Fewer blocks than this make a test part that is a matter of luck."""
MAX_HALVINGS = 16
PART_NAMES = ("train", "test", "dropped")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockSplit:
    """A split of places.

    Attributes:
        part: per place TRAIN, TEST or DROPPED, int8 (places,).
        block: per place the id of its block, int32 (places,).
    """

    part: np.ndarray
    block: np.ndarray
    seed: int
    block_deg: float
    buffer_deg: float
    test_share: float

    def places(self, part: int) -> np.ndarray:
        """Return the positions of the places in a part."""
        return np.flatnonzero(self.part == part)

    def fingerprint(self) -> str:
        """Return a hash of which place is in which part."""
        return hashlib.blake2b(self.part.tobytes(), digest_size=4).hexdigest()

    def counts(self) -> dict[str, int]:
        """Return the number of places in each part."""
        return {name: int((self.part == i).sum()) for i, name in enumerate(PART_NAMES)}


def place_boxes(dataset: Dataset) -> np.ndarray:
    """Return each place's footprint as (west, south, east, north) degrees, float64 (places, 4).

    Raises:
        DatasetError: places have no footprint.
    """
    boxes = find_boxes(dataset)
    if boxes is None:
        raise DatasetError(
            f"{dataset.path}: patches have no position, so they cannot be split by spatial block"
        )
    return boxes


def find_boxes(dataset: Dataset) -> np.ndarray | None:
    """Return what `place_boxes` does, or None where places have no footprint."""
    first, start = dataset.first_row, 0
    boxes = np.empty((len(first), 4))
    for some in dataset.index_batches("geometry"):
        low, high = np.searchsorted(first, (start, start + len(some)))
        shapes = some.take(pa.array(first[low:high] - start))
        if shapes.null_count:
            return None
        boxes[low:high] = shapely.bounds(shapely.from_wkb(shapes.to_pylist()))
        start += len(some)
    return boxes


def split_by_block(
    boxes: np.ndarray,
    *,
    seed: int = 0,
    test_share: float = 0.2,
    block_deg: float = 10.0,
    buffer_deg: float = 0.0,
) -> BlockSplit:
    """Draw test blocks of a longitude/latitude grid until their places reach `test_share`.

    Places of other blocks whose footprint, grown by `buffer_deg`, touches a test patch are dropped.

    Args:
        boxes: (west, south, east, north) of each place, degrees, (places, 4).
        seed: draws the order of the blocks.
        test_share: share of places to test on, in (0, 1).
        block_deg: edge of a block; halved until ten blocks hold places, where these lie closer together than that.
        buffer_deg: least gap between a training patch and a test patch.

    Raises:
        ConfigError: a value is out of range.
        DatasetError: one part would be empty.
    """
    if not 0 < test_share < 1:
        raise ConfigError(f"test share {test_share}; it must lie between 0 and 1, both excluded")
    if not (0 < block_deg <= 360 and 0 <= buffer_deg <= 360):
        raise ConfigError(
            f"block {block_deg} and buffer {buffer_deg} degrees; both at most 360, block above 0, buffer at least 0"
        )
    if len(boxes) < 2:
        raise DatasetError(
            f"{len(boxes)} place cannot be split into training and test; at least 2 are needed"
        )
    lon = (boxes[:, 0] + boxes[:, 2]) / 2
    lat = (boxes[:, 1] + boxes[:, 3]) / 2
    block_deg, ids, block = _blocks(lon, lat, block_deg)
    order = np.random.default_rng([seed, 0x5B11]).permutation(len(ids))
    sizes = np.bincount(block, minlength=len(ids))
    taken = np.cumsum(sizes[order])
    num_test = int(np.searchsorted(taken, test_share * len(boxes))) + 1
    part = np.where(np.isin(block, order[:num_test]), TEST, TRAIN).astype(np.int8)
    part[touched(boxes, boxes[part == TEST], grow_deg=buffer_deg) & (part == TRAIN)] = DROPPED
    if not (part == TRAIN).any() or not (part == TEST).any():
        raise DatasetError(
            f"blocks of {block_deg} degrees leave no training or no test place among {len(boxes)}; "
            "use smaller blocks (--block-deg), another share (--test-share) or more places"
        )
    return BlockSplit(
        part=part, block=block.astype(np.int32), seed=seed, block_deg=block_deg, buffer_deg=buffer_deg,
        test_share=test_share,
    )  # fmt: skip


def _blocks(lon: np.ndarray, lat: np.ndarray, block_deg: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the edge used, the ids of occupied blocks, and each place's block by position among them."""
    wanted = max(2, min(MIN_BLOCKS, len(lon) // 4))
    for halving in range(MAX_HALVINGS):
        edge = block_deg / 2**halving
        num_cols = int(np.ceil(360 / edge))
        col = np.floor((lon + 180) / edge).astype(np.int64) % num_cols
        row = np.floor((lat + 90) / edge).astype(np.int64)
        ids, block = np.unique(row * num_cols + col, return_inverse=True)
        if len(ids) >= wanted:
            break
    return edge, ids, block


def write_split(dataset: Dataset, split: BlockSplit, name: str) -> Path:
    """Write a split beside the dataset: `splits/<name>.parquet`, a row a place."""
    folder = dataset.path / "splits"
    file = folder / f"{name}.parquet"
    about = {k: v for k, v in dataclasses.asdict(split).items() if k not in ("part", "block")}
    table = pa.table(
        {
            "place": dataset.place_names,
            "part": [PART_NAMES[p] for p in split.part],
            "block": split.block,
        }
    ).replace_schema_metadata({"seco": json.dumps(about)})
    with disk_errors(file):
        folder.mkdir(exist_ok=True)
        temporary = file.with_name(file.name + ".partial")
        pq.write_table(table, temporary)
        temporary.replace(file)
    return file


def find_split(dataset: Dataset, name: str) -> tuple[BlockSplit, str]:
    """Read a split by the name it has in the dataset, or by the path of its file; say which it is in words.

    Raises:
        DatasetError: there is none of that name, or it is no sound split of this dataset.
    """
    folder = dataset.path / "splits"
    file = next((f for f in (folder / f"{name}.parquet", Path(name)) if f.is_file()), None)
    if file is None:
        known = ", ".join(sorted(f.stem for f in folder.glob("*.parquet")))
        raise DatasetError(
            f"{dataset.path} has no split {name!r}, "
            + (f"it has: {known}" if known else "and no other")
            + "; make one with `seco dataset split`, or give the path of a file"
        )
    split = read_split(dataset, file)
    return split, f"split {file.stem} ({split.fingerprint()}), seed {split.seed}"


def read_split(dataset: Dataset, file: Path) -> BlockSplit:
    """Read a split that `write_split` wrote for this dataset.

    Raises:
        DatasetError: it is damaged or of other places, a part is empty, or a training place shares pixels with a test place.
    """
    try:
        table = pq.read_table(file)
        about = _about(json.loads(table.schema.metadata[b"seco"]))
        part = np.array([_part(p) for p in table["part"].to_pylist()], np.int8)
        block = table["block"].to_numpy().astype(np.int32, casting="same_kind")
        places = table["place"].to_pylist()
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as err:
        raise DatasetError(f"cannot read split {file}: {err}; make it with `seco dataset split`") from err
    if places != dataset.place_ids:
        raise DatasetError(
            f"split {file} was made for other places than those of {dataset.path}; make it again"
        )
    split = BlockSplit(part=part, block=block, **about)
    train, test = split.places(TRAIN), split.places(TEST)
    if not len(train) or not len(test):
        raise DatasetError(f"split {file} has {len(train)} places to train on and {len(test)} to test on")
    boxes = place_boxes(dataset)
    shared = train[touched(boxes[train], boxes[test])]
    if len(shared):
        raise DatasetError(
            f"split {file}: {len(shared)} training places share pixels with a test place (the first is "
            f"{dataset.place_ids[shared[0]]}); make them dropped or test"
        )
    return split


def _part(name: str) -> int:
    if name not in PART_NAMES:
        raise ValueError(f"it has a place in part {name!r}, known are {', '.join(PART_NAMES)}")
    return PART_NAMES.index(name)


def _about(values: dict[str, Any]) -> dict[str, Any]:
    """Check what a split file says of itself."""
    about = {
        "seed": values["seed"],
        **{k: float(values[k]) for k in ("block_deg", "buffer_deg", "test_share")},
    }
    sound = 0 < about["block_deg"] <= 360 and 0 <= about["buffer_deg"] <= 360 and 0 < about["test_share"] < 1
    if not sound or not isinstance(about["seed"], int) or about["seed"] < 0:
        raise ValueError(f"it says of itself {values}")
    return about
