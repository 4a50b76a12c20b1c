"""Settings of a pre-training run, and what is derived from the data where they are left open."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from seco.config import build, setting, to_plain
from seco.data.tier import TrainingTier
from seco.errors import ConfigError
from seco.methods import _contract as methods
from seco.views.augment import Augment, colour_space
from seco.views.batch import Viewer
from seco.views.plan import ViewPlan

Shuffle = Literal["places", "blocks"]
PAPER_PATCH_PX = 264
"""Edge of SeCo's patches, for which its blur of 0.1-2 pixels was chosen."""

USUAL_BATCH = 64
"""Places a step where nothing else is asked for."""

NUM_LOG_LINES, MAX_LOG_EVERY = 40, 100
"""Lines that make a curve of a short run; a long one is not left without a line for longer than this many steps."""

MIN_PROBE_EVERY = 5
"""A probe encodes up to 512 patches, which takes as long as some steps."""

MIN_VIEW_PX, MAX_VIEW_PX = 8, 4096
"""One view of the largest, in three bands, takes 200 MB."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrain:
    """Settings of `seco pretrain`. `method_options` holds those of the method itself."""

    data: Path = setting(Path("dataset"), "dataset folder to train on")
    method: str = setting("seco", "method: a module name in seco.methods")
    encoder: str = setting("resnet18", "any timm model that takes the patch size")
    init: str = setting("random", "starting weights: random, imagenet, or the path of an encoder")
    bands: tuple[str, ...] | None = setting(None, "bands to train on, by name, comma-separated; default: all")
    steps: int | None = setting(None, "steps to train; default: 600 unless --epochs says otherwise")
    epochs: float | None = setting(None, "epochs to train, in place of --steps")
    batch_size: int = setting(0, "places a step; 0: 64, or all there are to train on if they are fewer")
    seed: int = setting(0, "seed of weights, order, seasons and views")
    view_px: int | None = setting(None, "edge of a view, pixels; default: the patch size")
    key_px: int | None = setting(
        None, "edge of the key views, pixels: smaller ones cost less (docs/speed.md); default: --view-px"
    )
    shuffle: Shuffle = setting(
        "places",
        "order of an epoch: any place after any other, or blocks of 4 MB of neighbours in random order, the places of 64 of "
        "them mixed, for data beyond memory on disks that are slow to seek (docs/speed.md)",
    )
    seasons: Literal["without", "with"] = setting(
        "without", "draw a place's seasons without replacement, or with it (the original)"
    )
    crop_scale: tuple[float, float] = setting((0.2, 1.0), "share of the patch's area that a crop keeps")
    jitter: tuple[float, float, float, float] = setting(
        (0.4, 0.4, 0.4, 0.1), "strength of brightness, contrast, saturation, hue"
    )
    jitter_p: float = setting(0.8, "probability of colour jitter")
    grey_p: float = setting(0.2, "probability of greyscale")
    blur_sigma: tuple[float, float] | None = setting(
        None, "Gaussian blur, pixels; the paper: 0.1,2 on 264 px; default: scaled to the patch"
    )
    blur_p: float = setting(0.5, "probability of blur")
    flip_p: float = setting(0.5, "probability of a horizontal flip")
    split: str | None = setting(
        None,
        "split that says what is held out, in place of the next three: its name in the dataset, or its file; "
        "as --split blocks-0 after `seco dataset split DATASET`",
    )
    test_share: float = setting(0.2, "share of places held out by spatial block; 0 trains on all")
    block_deg: float = setting(10.0, "edge of a held-out block, degrees")
    split_seed: int = setting(0, "seed of the held-out blocks")
    device: str = setting("auto", "auto, cpu, cuda, cuda:1, ...")
    precision: Literal["auto", "fp32", "bf16"] = setting("auto", "auto: bf16 where the machine has it")
    log_every: int | None = setting(
        None,
        "steps between log lines, the first step's besides; default: a fortieth of the steps, at most 100",
    )
    probe_every: int | None = setting(
        None, "steps between kNN probes on held-out places; default: a tenth, at least 5; 0: never"
    )
    checkpoint_every: int | None = setting(None, "steps between checkpoints; default: a tenth of the steps")
    method_options: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise ConfigError(f"both steps {self.steps} and epochs {self.epochs} given; give one")
        for name in ("steps", "epochs", "log_every"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(
                    f"{name.replace('_', ' ')} {value}; it must be above 0 (--{name.replace('_', '-')})"
                )
        if self.batch_size < 2 and self.batch_size != 0:
            raise ConfigError(
                f"batch size {self.batch_size}; batch statistics need at least 2 (--batch-size)"
            )
        for name in ("probe_every", "checkpoint_every"):
            if (getattr(self, name) or 0) < 0:
                raise ConfigError(f"{name.replace('_', ' ')} {getattr(self, name)}; at least 0")
        for seed in (self.seed, self.split_seed):
            if not 0 <= seed < 2**63:
                raise ConfigError(f"seed {seed}; seeds are 0 or above, and below 2**63")
        if not 0 <= self.test_share < 1:
            raise ConfigError(f"test share {self.test_share}; at least 0 and below 1 (--test-share)")
        for name, px in (("view-px", self.view_px), ("key-px", self.key_px)):
            if px is not None and not MIN_VIEW_PX <= px <= MAX_VIEW_PX:
                raise ConfigError(f"views of {px} px; {MIN_VIEW_PX} to {MAX_VIEW_PX} (--{name})")

    def options(self) -> Any:
        """Return the method's own options, built and checked."""
        options = build(methods.find(self.method).Options, self.method_options)
        if self.init == "random" and getattr(options, "freeze_norm", False):
            raise ConfigError(
                "random weights come with no statistics to keep: give --init imagenet or an encoder, or leave out "
                "--freeze-norm"
            )
        return options


def resolve(config: Pretrain, *, num_places: int, patch_px: int, num_processes: int = 1) -> Pretrain:
    """Choose everything that was left open.

    Raises:
        ConfigError: the batch is larger than the places, or cannot be shared by the processes.
    """
    if not config.batch_size:
        share = num_processes * num_passes(config)
        usual = min(USUAL_BATCH, num_places) // share * share
        config = dataclasses.replace(config, batch_size=max(2, usual))
    if config.batch_size > num_places:
        raise ConfigError(
            f"batch size {config.batch_size} is above the {num_places} places to train on; lower --batch-size"
        )
    steps = config.steps
    if steps is None and config.epochs is not None:
        steps = max(1, round(config.epochs * (num_places // config.batch_size)))
    steps = steps or 600
    options = methods.find(config.method).derive(
        config.options(), num_places=num_places, num_steps=steps, batch_size=config.batch_size,
        num_processes=num_processes,
    )  # fmt: skip
    sigma = config.blur_sigma
    if sigma is None:
        sigma = (0.1, max(0.1, round(2.0 * patch_px / PAPER_PATCH_PX, 3)))
    tenth = max(1, steps // 10)
    return dataclasses.replace(
        config, steps=steps, epochs=None, view_px=config.view_px or patch_px, blur_sigma=sigma,
        log_every=config.log_every or min(max(1, steps // NUM_LOG_LINES), MAX_LOG_EVERY),
        probe_every=max(tenth, MIN_PROBE_EVERY) if config.probe_every is None else config.probe_every,
        checkpoint_every=config.checkpoint_every or tenth, method_options=to_plain(options),
    )  # fmt: skip


def num_passes(config: Pretrain) -> int:
    """Return in how many parts a batch is gone over; methods without such a setting do it in one."""
    return int(getattr(config.options(), "accumulate", 1))


def augmentation(config: Pretrain) -> Augment:
    """Return the augmentation that a resolved config asks for."""
    assert config.view_px is not None
    assert config.blur_sigma is not None
    return Augment(
        out_px=config.view_px, crop_scale=config.crop_scale, jitter=config.jitter, jitter_p=config.jitter_p,
        grey_p=config.grey_p, blur_sigma=config.blur_sigma, blur_p=config.blur_p, flip_p=config.flip_p,
    )  # fmt: skip


def make_viewer(config: Pretrain, tier: TrainingTier, plan: ViewPlan) -> Viewer:
    """Return what makes the views of a run, from a resolved config."""
    space = colour_space(tier.bands, low=tier.low, high=tier.high, mean=tier.mean, std=tier.std)
    return Viewer(
        plan=plan, augment=augmentation(config), space=space, seed=config.seed, replacement=config.seasons == "with",
        key_px=config.key_px,
    )  # fmt: skip


def derived(before: Pretrain, after: Pretrain) -> dict[str, Any]:
    """Return the settings that `resolve` chose, method options included, for the run to print."""
    a, b = to_plain(before), to_plain(after)
    own_a, own_b = a.pop("method_options"), b.pop("method_options")
    chosen = {k: v for k, v in b.items() if a[k] is None and v is not None}
    if not before.batch_size:
        chosen["batch_size"] = after.batch_size
    chosen.update(
        {k: v for k, v in own_b.items() if own_a.get(k) is None and k not in own_a and v is not None}
    )
    defaults = to_plain(methods.find(after.method).Options())
    return {k: v for k, v in chosen.items() if k not in defaults or defaults[k] is None}
