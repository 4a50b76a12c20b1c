"""The pre-training loop: one function from a config to a run folder."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from seco import config as configs
from seco.data.dataset import open_dataset
from seco.errors import CheckpointError, ConfigError, LostProcessError, TrainingError
from seco.methods import _contract as methods
from seco.nets.backbones import build_backbone, check_input, feature_dim
from seco.nets.devices import broken_in_bf16, keep_freed_memory, pick_device, pick_precision
from seco.nets.encoder import Encoder, starting_spec
from seco.nets.phases import SAVE, VIEWS, WAIT, Phases, lines
from seco.nets.spec import MAX_BOXES, EncoderSpec
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
from seco.train.settings import Pretrain, derived, make_viewer, num_passes, resolve
from seco.train.stopping import InterruptedRunError, stop_flag
from seco.train.team import PATIENCE_S, Team
from seco.views.augment import deviation

Say = Callable[[str], None]
ECHO_S = 5.0
"""In which a second signal to one of many processes is taken for the first, passed on by who started them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finished:
    """What a run came to."""

    run: Path
    num_steps: int
    last: dict[str, float]
    seconds: float


def pretrain(
    config: Pretrain,
    run: Path,
    *,
    resume: bool = False,
    say: Say = print,
    team: Team | None = None,
    phases: Phases | None = None,
) -> Finished:
    """Pre-train an encoder.

    Args:
        config: settings; on `resume` those of the run are taken, and `config` only has to agree.
        run: run folder; must be new unless `resume`.
        resume: go on from the newest checkpoint, bit for bit as if nothing had happened (one CPU process).
        say: takes lines for the user.
        phases: filled with where the time goes, which is then said and written into the run folder.
        team: this process and those that train with it, from `seco.train.team.join`; every one calls this with the same
            arguments, and the first of them writes and speaks. None trains alone.

    Raises:
        SecoError: see the error tree; `InterruptedRunError` after Ctrl-C, with a checkpoint written.
    """
    session = _Session(config, run, resume=resume, say=say, team=team, phases=phases)
    try:
        if phases is not None:
            phases.start(session.device)
        return session.train()
    finally:
        session.close()
        if phases is not None and session.team.leads:
            report = phases.report(batch_size=session.config.batch_size)
            write_json(run / PROFILE_NAME, report)
            for line in lines(report):
                say(line)


class _Session:
    """Everything one call of `pretrain` holds open."""

    def __init__(
        self,
        config: Pretrain,
        run: Path,
        *,
        resume: bool,
        say: Say,
        team: Team | None = None,
        phases: Phases | None = None,
    ) -> None:
        """Open data, build the method and take up the newest checkpoint."""
        team = team or Team()
        self.run, self.team, self.processes, self.phases = run, team, team.processes, phases or Phases()
        self.say: Say = say if team.leads else lambda _line: None
        with team.together():
            found = self._open(config, resume=resume)
        self._make_tier()
        with team.together():
            self.tier = self.dataset.training(self.config.bands)
            before = record.same_run(run, self.config, self.places, self.tier) if resume else None
            self._choose_device()
            self.viewer = make_viewer(self.config, self.tier, self.plan).to(self.device)
            backbone = self._backbone(before)
        team.same(self._about())
        with team.together():
            self.method = self._build(backbone)
            self._take_up(before, found)
        self.processes.broadcast(self.method.state_dict().values() if not found else ())
        self.log: MetricsLog | None = None
        self.board: Any = None
        with team.together():
            if team.leads:
                self._start_writing(resume=resume)
        self._announce(config)

    def _open(self, config: Pretrain, *, resume: bool) -> tuple[int, dict[str, Any], dict[str, Any]] | None:
        """Open the data and resolve the settings; return the newest checkpoint of a run that goes on."""
        run = self.run
        found = checkpoints.load_newest(run) if resume else None
        if not resume and (run / CONFIG_NAME).exists():
            raise ConfigError(f"{run} holds a run already; go on with --resume, or choose another --out")
        if resume and not (run / CONFIG_NAME).exists():
            raise CheckpointError(f"{run} holds no run to resume; leave out --resume to start one")
        self.plan = methods.find(config.method).PLAN
        self.dataset = open_dataset(config.data)
        self.places = choose_places(self.dataset, config, num_seasons=self.plan.num_seasons)
        self.config = resolve(
            config, num_places=len(self.places.train), patch_px=self.dataset.meta.patch_px,
            num_processes=self.processes.size,
        )  # fmt: skip
        self.first = found[0] if found else 0
        return found

    def _make_tier(self) -> None:
        """Make the training tier where it is missing, once a machine; the others wait for it."""
        if self.processes.size > 1:
            with self.team.together(timeout_s=PATIENCE_S):
                if self.team.local_rank == 0:
                    self.dataset.training(self.config.bands)

    def _choose_device(self) -> None:
        self.notes: list[str] = []
        self.device = pick_device(
            self.config.device, number=self.team.local_rank if self.processes.size > 1 else None
        )
        if self.device.type == "cpu":
            keep_freed_memory()
        self.precision = pick_precision(self.config.precision, self.device)

    def _about(self) -> dict[str, Any]:
        """Return what has to be the same in every process."""
        plain = configs.to_plain(self.config)
        plain.update(plain.pop("method_options"))
        return {
            **{k: v for k, v in plain.items() if k not in record.FREE}, "training data": self.tier.fingerprint,
            "places": record.fingerprint(self.places), "precision": self.precision, "device": self.device.type,
            "first step": self.first,
        }  # fmt: skip

    def _take_up(self, before: record.Started | None, found: tuple[int, Any, Any] | None) -> None:
        """Go on where the newest checkpoint is."""
        if before and (before.device, before.precision) != (self.device.type, self.precision):
            self.notes.append(
                f"so far on {before.device} in {before.precision}, from here on {self.device.type} in {self.precision}: "
                "not what an uninterrupted run would give"
            )
        self.meter = Meter(0, self.config)
        if found:
            _, state, about = found
            self.method.load_state_dict(state)
            self.meter = Meter(self.first, self.config, **about.get("meter", {}))
        self.probe = (
            online_probe(self.tier, self.places, seed=self.config.split_seed)
            if self.config.probe_every
            else None
        )

    def _start_writing(self, *, resume: bool) -> None:
        if not resume:
            started = record.Started(
                tier=self.tier.fingerprint, dataset=self.dataset.fingerprint, device=self.device.type,
                precision=self.precision, starting_boxes=self.starting_boxes,
            )  # fmt: skip
            record.write(self.run, self.config, started, self.places, self.tier)
        self.log = MetricsLog(self.run / METRICS_NAME, keep_until_step=self.first)
        self.board = _tensorboard(self.run, self.first)

    def _backbone(self, before: record.Started | None) -> nn.Module:
        """Build the backbone; where the run goes on, its checkpoint has all weights, and the starting ones may be gone."""
        config = self.config
        if before is None:
            start = starting_spec(config.init, self.tier.bands)
            self.starting_boxes = start.trained_boxes if start else np.zeros((0, 4))
        else:
            self.starting_boxes = before.starting_boxes
        # What the starting weights have seen, these have seen too.
        self.trained_boxes = np.concatenate([self.starting_boxes, self.places.boxes])
        if len(self.trained_boxes) > MAX_BOXES:
            self.trained_boxes = np.zeros((0, 4))
            self.notes.append(
                f"footprints of more than {MAX_BOXES:,} places are not kept: the encoder cannot tell what ground it saw"
            )
        init = config.init if before is None else "random"
        backbone = build_backbone(config.encoder, len(self.tier.bands), init=init, seed=config.seed)
        for px in sorted(
            {int(config.view_px or 0), int(config.key_px or config.view_px or 0), self.tier.patch_px}
        ):
            check_input(backbone, len(self.tier.bands), px=px)
        self._avoid_broken_bf16(backbone)
        return backbone

    def _build(self, backbone: nn.Module) -> methods.Method:
        config = self.config
        assert config.steps is not None
        setup = methods.Setup(
            backbone=backbone, feature_dim=feature_dim(backbone), num_places=len(self.places.train),
            num_steps=config.steps, batch_size=config.batch_size, seed=config.seed, precision=self.precision,
            processes=self.processes, phases=self.phases, say=self.say,
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
            + (f", {config.batch_size // self.processes.size} a process" if self.processes.size > 1 else "")
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
            seed=config.seed, rows=self._own_rows(), shuffle=config.shuffle,
        )  # fmt: skip
        echo_s = ECHO_S if self.processes.size > 1 else 0.0
        with stop_flag(echo_s=echo_s) as stop, closing(reading) as reader:
            for step, batch in enumerate(self.phases.each(WAIT, reader), start=self.first + 1):
                with self.phases(VIEWS):
                    seasons = batch.seasons.to(self.device, non_blocking=True)
                    views = self.viewer.views(seasons, batch.epoch, batch.places)
                try:
                    numbers = self.method.update(views, step=step - 1)
                    self.meter.add(numbers)
                    # Asked once: a signal while the state is written stops the run after the next step.
                    stopping = self.processes.any(stop.is_set()) and step < config.steps
                    with self.phases(SAVE):
                        self._after_step(step, stopping=stopping)
                except TrainingError as err:
                    raise self._failed(err) from err
                except LostProcessError as err:
                    raise self._lost(err, step) from err
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

    def _own_rows(self) -> np.ndarray | None:
        """Return which rows of a batch are this process's; None for all."""
        if self.processes.size == 1:
            return None
        return self.processes.rows(self.config.batch_size, parts=num_passes(self.config))

    def _lost(self, err: LostProcessError, step: int) -> LostProcessError:
        last = checkpoints.folders(self.run)
        kept = f"the newest checkpoint is {last[-1]}" if last else "no checkpoint was written yet"
        return LostProcessError(
            f"step {step}: {err}; {kept}: go on with the same command and --resume, on any number of processes"
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
            self._log(step, numbers)
            self.say(line)
        if self.probe is not None and config.probe_every and (step % config.probe_every == 0 or last):
            self._probe(step, self.probe)
        assert config.checkpoint_every is not None
        if step % config.checkpoint_every == 0 or last or stopping:
            self._checkpoint(step)

    def _log(self, step: int, numbers: dict[str, float]) -> None:
        if self.log is not None and self.board is not None:
            self.log.add(step=step, **numbers)
            for key, value in numbers.items():
                self.board.add_scalar(key, value, step)

    def _probe(self, step: int, probe: OnlineProbe) -> None:
        encoder = self.as_encoder(step)  # in every process: their statistics are averaged
        if not self.team.leads:
            return
        scores = probe.run(encoder)
        self._log(step, scores)
        self.say(f"step {step}: held-out places: " + ", ".join(f"{k} {v:.3f}" for k, v in scores.items()))

    def _checkpoint(self, step: int) -> None:
        state = self.method.state_dict()
        if self.team.leads:
            about = {"config": configs.to_plain(self.config), "meter": self.meter.state()}
            checkpoints.save(self.run, step=step, state=state, about=about)
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
        encoder = self.as_encoder(step)
        if self.team.leads:
            encoder.save(self.run / ENCODER_NAME)

    def close(self) -> None:
        """Close the logs."""
        if self.log is not None and self.board is not None:
            self.log.close()
            self.board.close()


def _tensorboard(run: Path, first: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run / "tensorboard"), purge_step=first + 1)
