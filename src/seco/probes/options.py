"""Settings that tasks share; each task's Options are built from them."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, get_args

from seco.config import setting
from seco.errors import ConfigError, TaskError
from seco.nets.feed import Normalise

PROBES = ("knn", "linear")
FINETUNE = "finetune"
"""The probe that moves the encoder too, of tasks whose Options take it."""
ALL = "all"
Protocol = Literal["strict", "paper"]
STRICT: Protocol = "strict"
PAPER: Protocol = "paper"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """How features are made, and how places or images are split."""

    outputs: tuple[str, ...] = setting(
        ("features",), "outputs to judge: features, z0, z1, ... with commas, or all that the encoder has"
    )
    normalise: Normalise | None = setting(
        None,
        "what standardises the input: spec (the encoder's own statistics), dataset (the data's), paper (bytes / 255); "
        "default: what the encoder asks for",
    )
    size: tuple[int, ...] = setting(
        (),
        "resize patches to this many pixels before encoding; several with commas, such as 64,128,224, are judged one after "
        "the other; default: they stay as they are",
    )
    split_seeds: tuple[int, ...] = setting(
        (0,), "seeds of the splits, with commas; everything is scored once a split"
    )
    test_share: float = setting(0.2, "share of the places or images to test on")
    num_draws: int = setting(1000, "bootstrap draws for the confidence interval; 0 leaves it out")
    cache: Literal["keep", "none"] = setting(
        "keep", "keep features in the cache folder, or make them anew each time"
    )

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.outputs:
            raise ConfigError("outputs: none given; say features, z0, ... or all")
        if self.normalise is not None and self.normalise not in get_args(Normalise):
            raise ConfigError(f"normalise {self.normalise!r}; known: {', '.join(get_args(Normalise))}")
        if min(self.size, default=8) < 8 or len(set(self.size)) < len(self.size):
            raise ConfigError(
                f"size {','.join(map(str, self.size))} px; give different whole numbers from 8 up"
            )
        if (
            not self.split_seeds
            or min(self.split_seeds) < 0
            or len(set(self.split_seeds)) < len(self.split_seeds)
        ):
            raise ConfigError(f"split seeds {self.split_seeds}; give different whole numbers from 0 up")
        if not 0 < self.test_share < 1:
            raise ConfigError(f"test share {self.test_share}; it must lie between 0 and 1, both excluded")
        if self.num_draws < 0:
            raise ConfigError(f"bootstrap draws {self.num_draws}; give 0 or more")

    @property
    def size_px(self) -> int | None:
        """The one size to resize to; None leaves patches as they are.

        Raises:
            TaskError: there are several; `seco.probes.evaluation.evaluate` judges them one after the other.
        """
        if len(self.size) > 1:
            raise TaskError(
                f"several sizes ({', '.join(map(str, self.size))} px) at once; judge them by `evaluate`, or give one"
            )
        return self.size[0] if self.size else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeOptions(EvaluationOptions):
    """Which probes read a class off the features."""

    KNOWN_PROBES: ClassVar[tuple[str, ...]] = PROBES
    probes: tuple[str, ...] = setting(PROBES, f"probes with commas: {', '.join(PROBES)}", flag="--probe")
    k: int = setting(20, "neighbours of the kNN probe")
    vote: Literal["majority", "weighted"] = setting(
        "majority", "how neighbours vote: majority (one vote each), or weighted by exp(similarity / 0.07)"
    )
    knn_features: Literal["raw", "standardised"] = setting(
        "raw", "what the kNN probe compares: features as they are, or standardised by the training part"
    )
    protocol: Protocol = setting(
        STRICT,
        "strict, or paper: what the original SeCo evaluation did where it differs, for comparison alone "
        "(docs/evaluation.md lists it)",
    )

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        unknown = [p for p in self.probes if p not in self.KNOWN_PROBES]
        if unknown or not self.probes:
            raise TaskError(
                f"no probe {', '.join(unknown) or '(none given)'}; known: {', '.join(self.KNOWN_PROBES)}"
            )
        if self.k < 1:
            raise ConfigError(f"k {self.k}; give at least 1")
        if self.protocol == PAPER and ("linear" not in self.probes or FINETUNE in self.probes):
            raise ConfigError(
                "protocol paper has the linear probe alone; say --probe linear, or --protocol strict"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassOptions(ProbeOptions):
    """Probes for one class a patch, on all labels and on few."""

    shots: tuple[int, ...] = setting(
        (), "few-shot too: labels a class, with commas, such as 1,5,10,50,100, those that choose included"
    )
    shot_draws: int = setting(5, "random draws of the labels for each number of shots")

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        if min(self.shots, default=1) < 1 or len(set(self.shots)) < len(self.shots):
            raise ConfigError(f"shots {self.shots}; give different whole numbers from 1 up")
        if self.shot_draws < 1:
            raise ConfigError(f"shot draws {self.shot_draws}; give at least 1")
        if self.protocol == PAPER and self.shots:
            raise ConfigError(
                f"shots {','.join(map(str, self.shots))} with protocol paper, which has no few-shot part; leave out one"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockOptions(EvaluationOptions):
    """How places are held out: by block of a longitude/latitude grid."""

    split: str | None = setting(
        None,
        "split to test on in place of drawn blocks (--split-seeds, --test-share, --block-deg and --buffer-deg go without "
        "it): its name in the dataset, or its file; as --split blocks-0 after `seco dataset split DATASET`",
    )
    block_deg: float = setting(10.0, "edge of a block that is held out as a whole, degrees")
    buffer_deg: float = setting(
        0.0, "least gap between a training patch and a test patch, degrees; overlap is never allowed"
    )

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        if self.block_deg <= 0 or self.buffer_deg < 0:
            raise ConfigError(
                f"block {self.block_deg} and buffer {self.buffer_deg} degrees; block must be above 0, buffer at least 0"
            )
        drawn = ("split_seeds", "test_share", "block_deg", "buffer_deg")
        given = [
            f.name for f in dataclasses.fields(self) if f.name in drawn and getattr(self, f.name) != f.default
        ]
        if self.split is not None and given:
            raise ConfigError(
                f"split {self.split!r} is drawn already, but {', '.join(given)} given too; leave out one or the other"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlaceProbeOptions(ClassOptions, BlockOptions):
    """Probes on dated places that are held out by block."""

    num_dates: int = setting(
        3, "random dates of each training place that a probe is fitted on; every date of a test place counts"
    )

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        if self.num_dates < 1:
            raise ConfigError(f"training dates {self.num_dates}; give at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RasterOptions(PlaceProbeOptions):
    """Probes for the class of a global raster that covers most of a place."""

    min_places: int = setting(10, "classes with fewer training places than this are left out")
    min_share: float = setting(
        0.0, "leave out places where no class covers more than this share of the land, 0-1"
    )

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        if self.min_places < 1:
            raise ConfigError(f"least training places of a class {self.min_places}; give at least 1")
        if not 0 <= self.min_share < 1:
            raise ConfigError(f"least share of a class {self.min_share}; it must lie from 0 to below 1")


def chosen_outputs(wanted: tuple[str, ...], have: tuple[str, ...], encoder: str) -> tuple[str, ...]:
    """Resolve `all`, and check that the encoder has the outputs asked for.

    Raises:
        TaskError: it lacks one.
    """
    if ALL in wanted:
        return have
    missing = [o for o in wanted if o not in have]
    if missing:
        raise TaskError(
            f"encoder {encoder} has no output {', '.join(missing)}; it has {', '.join(have)} (--outputs)"
        )
    return tuple(dict.fromkeys(wanted))
