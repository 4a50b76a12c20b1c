"""The pre-training loop: one function from a config to a run folder."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from torch import nn

from seco import config as configs
from seco.data.dataset import open_dataset
from seco.errors import CheckpointError, ConfigError, TrainingError
from seco.methods import _contract as methods
from seco.nets.backbones import build_backbone, check_input, feature_dim
from seco.nets.devices import broken_in_bf16, keep_freed_memory, pick_device, pick_precision
from seco.nets.encoder import Encoder, starting_spec
from seco.nets.phases import SAVE, VIEWS, WAIT, Phases, lines
from seco.nets.spec import EncoderSpec
from seco.runs import (
    CONFIG_NAME,
    ENCODER_NAME,
    METRICS_NAME,
    PROFILE_NAME,
    MetricsLog,
    write_json,
)
from seco.train import checkpoints, record
from seco.train.meter import Meter
from seco.train.places import batches, choose_places
from seco.train.probe import OnlineProbe, online_probe
from seco.train.settings import Pretrain, derived, make_viewer, resolve
from seco.train.stopping import InterruptedRunError, stop_flag
from seco.views.augment import deviation

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finished:
    """What a run came to."""

    run: Path
    num_steps: int
    last: dict[str, float]
    seconds: float


def pretrain(
    config: Pretrain, run: Path, *, resume: bool = False, say: Say = print, phases: Phases | None = None
) -> Finished:
    """Pre-train an encoder.

    Args:
        config: settings; on `resume` those of the run are taken, and `config` only has to agree.
        run: run folder; must be new unless `resume`.
        resume: go on from the newest checkpoint, bit for bit as if nothing had happened (one CPU process).
        say: takes lines for the user.
        phases: filled with where the time goes, which is then said and written into the run folder.

    Raises:
        SecoError: see the error tree; `InterruptedRunError` after Ctrl-C, with a checkpoint written.
    """
    session = _Session(config, run, resume=resume, say=say, phases=phases)
    try:
        if phases is not None:
            phases.start(session.device)
        return session.train()
    finally:
        session.close()
        if phases is not None:
            report = phases.report(batch_size=session.config.batch_size)
            write_json(run / PROFILE_NAME, report)
            for line in lines(report):
                say(line)


class _Session:
    """Everything one call of `pretrain` holds open."""

    def __init__(
        self, config: Pretrain, run: Path, *, resume: bool, say: Say, phases: Phases | None = None
    ) -> None:
        """Open data, build the method and take up the newest checkpoint."""
        self.run, self.say, self.phases = run, say, phases or Phases()
        found = checkpoints.load_newest(run) if resume else None
        if not resume and (run / CONFIG_NAME).exists():
            raise ConfigError(f"{run} holds a run already; go on with --resume, or choose another --out")
        if resume and not (run / CONFIG_NAME).exists():
            raise CheckpointError(f"{run} holds no run to resume; leave out --resume to start one")
        plan = methods.find(config.method).PLAN
        dataset = open_dataset(config.data)
        self.places = choose_places(dataset, config, num_seasons=plan.num_seasons)
        asked = config
        self.config = resolve(config, num_places=len(self.places.train), patch_px=dataset.meta.patch_px)
        self.tier = dataset.training(self.config.bands)
        before = record.same_run(run, self.config, self.places, self.tier) if resume else None
        self.device = pick_device(self.config.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.precision = pick_precision(self.config.precision, self.device)
        self.notes: list[str] = []
        self.viewer = make_viewer(self.config, self.tier, plan).to(self.device)
        self.method = self._build(before)
        if before and (before.device, before.precision) != (self.device.type, self.precision):
            self.notes.append(
                f"so far on {before.device} in {before.precision}, from here on {self.device.type} in {self.precision}: "
                "not what an uninterrupted run would give"
            )
        self.first = 0
        self.meter = Meter(0, self.config)
        if found:
            self.first, state, about = found
            self.method.load_state_dict(state)
            self.meter = Meter(self.first, self.config, **about.get("meter", {}))
        self.probe = (
            online_probe(self.tier, self.places, seed=self.config.split_seed)
            if self.config.probe_every
            else None
        )
        if not resume:
            started = record.Started(
                tier=self.tier.fingerprint, dataset=dataset.fingerprint, device=self.device.type,
                precision=self.precision, starting_boxes=self.starting_boxes,
            )  # fmt: skip
            record.write(run, self.config, started, self.places, self.tier)
        self.log = MetricsLog(run / METRICS_NAME, keep_until_step=self.first)
        self.board = _tensorboard(run, self.first)
        self._announce(asked)

    def _build(self, before: record.Started | None) -> methods.Method:
        """Build the method; where the run goes on, its checkpoint has all weights, and the starting ones may be gone."""
        config = self.config
        assert config.steps is not None
        if before is None:
            start = starting_spec(config.init, self.tier.bands)
            self.starting_boxes = start.trained_boxes if start else ()
        else:
            self.starting_boxes = before.starting_boxes
        # What the starting weights have seen, these have seen too.
        self.trained_boxes = (*self.starting_boxes, *(tuple(b) for b in self.places.boxes.tolist()))
        init = config.init if before is None else "random"
        backbone = build_backbone(config.encoder, len(self.tier.bands), init=init, seed=config.seed)
        for px in sorted(
            {int(config.view_px or 0), int(config.key_px or config.view_px or 0), self.tier.patch_px}
        ):
            check_input(backbone, len(self.tier.bands), px=px)
        self._avoid_broken_bf16(backbone)
        setup = methods.Setup(
            backbone=backbone, feature_dim=feature_dim(backbone), num_places=len(self.places.train),
            num_steps=config.steps, batch_size=config.batch_size, seed=config.seed, precision=self.precision,
            phases=self.phases,
        )  # fmt: skip
        method = methods.find(config.method).build(setup, config.options())
        method.to(self.device)
        return method

    def _avoid_broken_bf16(self, backbone: nn.Module) -> None:
        """Compute in fp32 where this CPU's bf16 gradients would be wrong."""
        if self.device.type != "cpu" or self.precision == "fp32":
            return
        px = int(self.config.view_px or 0)
        conv = broken_in_bf16(backbone, len(self.tier.bands), px=px)
        if conv is None:
            return
        if self.config.precision == "bf16":
            raise ConfigError(
                f"precision bf16 with views of {px} px: the kernel of {conv} in {self.config.encoder} reaches further than "
                "its whole input, whose gradient CPUs get wrong in bf16; use --precision fp32 or larger views (--view-px)"
            )
        self.precision = "fp32"
        self.notes.append(f"fp32, because bf16 gradients of {conv} would be wrong on a CPU at {px} px")

    def _announce(self, asked: Pretrain) -> None:
        places, config = self.places, self.config
        short = f", {places.num_short} with too few dates left out" if places.num_short else ""
        self.say(
            f"{config.method} on {len(places.train)} places ({len(places.held_out)} held out: {places.how}{short}), "
            f"{config.encoder} for {','.join(b.name for b in self.tier.bands)}, {self.device.type} {self.precision}, "
            f"{config.steps} steps of {config.batch_size} places"
        )
        for note in self.notes:
            self.say(note)
        chosen = derived(asked, config)
        if chosen:
            self.say("chosen for you: " + ", ".join(f"{k} {v}" for k, v in chosen.items()))
        if self.first:
            self.say(f"going on from step {self.first}")

    def train(self) -> Finished:
        """Run the steps that are left."""
        config = self.config
        assert config.steps is not None
        started = self.meter.last_time = time.perf_counter()
        step, numbers = self.first, {}
        reading = batches(
            self.tier, self.places, self.viewer, batch_size=config.batch_size, first=self.first, last=config.steps,
            seed=config.seed,
        )  # fmt: skip
        with stop_flag() as stop, closing(reading) as reader:
            for step, batch in enumerate(self.phases.each(WAIT, reader), start=self.first + 1):
                with self.phases(VIEWS):
                    seasons = batch.seasons.to(self.device, non_blocking=True)
                    views = self.viewer.views(seasons, batch.epoch, batch.places)
                try:
                    numbers = self.method.update(views, step=step - 1)
                except TrainingError as err:
                    raise self._failed(err) from err
                self.meter.add(numbers)
                # Asked once: a signal while the state is written stops the run after the next step.
                stopping = stop.is_set() and step < config.steps
                with self.phases(SAVE):
                    self._after_step(step, stopping=stopping)
                if stopping:
                    raise InterruptedRunError(
                        f"stopped at step {step} of {config.steps}, saved; go on: seco pretrain --resume --out {self.run}"
                    )
        if self.first == config.steps:
            self.say(f"{self.run} is finished already")
        self._save_encoder(config.steps)
        return Finished(
            run=self.run,
            num_steps=config.steps,
            last=numbers,
            seconds=time.perf_counter() - started,
        )

    def _failed(self, err: TrainingError) -> TrainingError:
        last = checkpoints.folders(self.run)
        kept = f"the checkpoint {last[-1].name} is kept" if last else "no checkpoint was written yet"
        return TrainingError(
            f"{err}; {kept}: lower the learning rate (--lr), raise --warmup-steps, or use --precision fp32"
        )

    def _after_step(self, step: int, *, stopping: bool) -> None:
        """Log, probe and save where it is time to; a stop only saves, so that the log is as if it had not happened."""
        config = self.config
        last = step == config.steps
        assert config.log_every is not None
        if step % config.log_every == 0 or step == 1 or last:
            numbers, line = self.meter.report(step)
            self.log.add(step=step, **numbers)
            for key, value in numbers.items():
                self.board.add_scalar(key, value, step)
            self.say(line)
        if self.probe is not None and config.probe_every and (step % config.probe_every == 0 or last):
            self._probe(step, self.probe)
        assert config.checkpoint_every is not None
        if step % config.checkpoint_every == 0 or last or stopping:
            self._checkpoint(step)

    def _probe(self, step: int, probe: OnlineProbe) -> None:
        scores = probe.run(self.as_encoder(step))
        self.log.add(step=step, **scores)
        for key, value in scores.items():
            self.board.add_scalar(key, value, step)
        self.say(f"step {step}: held-out places: " + ", ".join(f"{k} {v:.3f}" for k, v in scores.items()))

    def _checkpoint(self, step: int) -> None:
        checkpoints.save(
            self.run,
            step=step,
            state=self.method.state_dict(),
            about={"config": configs.to_plain(self.config), "meter": self.meter.state()},
        )
        self._save_encoder(step)

    def as_encoder(self, step: int) -> Encoder:
        """Return a frozen copy of what is being trained."""
        backbone, heads = self.method.encoder()
        spec = EncoderSpec(
            arch=self.config.encoder, bands=self.tier.bands, mean=tuple(self.tier.mean.tolist()),
            std=tuple(deviation(self.tier.mean, self.tier.std).tolist()), patch_px=self.tier.patch_px,
            feature_dim=feature_dim(backbone), heads=tuple(heads), method=self.config.method, init=self.config.init,
            data_fingerprint=self.tier.fingerprint, num_steps=step,
            trained_boxes=self.trained_boxes,
        )  # fmt: skip
        return Encoder(
            spec=spec, backbone=copy.deepcopy(backbone), heads=copy.deepcopy(heads), name=self.run.name,
            device=self.device,
        )  # fmt: skip

    def _save_encoder(self, step: int) -> None:
        self.as_encoder(step).save(self.run / ENCODER_NAME)

    def close(self) -> None:
        """Close the logs."""
        self.log.close()
        self.board.close()


def _tensorboard(run: Path, first: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run / "tensorboard"), purge_step=first + 1)
