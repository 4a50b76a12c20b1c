"""The processes of a run: how they meet, agree on settings and errors, and end together.

`torchrun`, `srun` with its variables, or `seco pretrain --processes` (train/launch.py) start them and say in RANK,
WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT who is who.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined] # found at run time only
from torch.distributed.distributed_c10d import PrefixStore, Store

from seco.errors import ConfigError, LostProcessError, SecoError
from seco.nets.processes import ALONE, Processes

TIMEOUT_NAME = "SECO_PROCESS_TIMEOUT_S"
TIMEOUT_S = 600.0
"""How long a process waits for another, unless $SECO_PROCESS_TIMEOUT_S says otherwise."""
PATIENCE_S = 86_400.0
"""How long where another one makes a training tier."""


@dataclasses.dataclass(kw_only=True)
class Team:
    """This process and the others, who meet at a store of short texts.

    Attributes:
        local_rank: number of this process on its machine, from 0.
    """

    processes: Processes = ALONE
    local_rank: int = 0
    store: Store | None = None
    timeout_s: float = TIMEOUT_S
    _meetings: int = 0

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes, logs and speaks."""
        return self.processes.rank == 0

    def gather(self, text: str, *, timeout_s: float | None = None) -> list[str]:
        """Return what every process says at this point.

        Raises:
            LostProcessError: one does not come.
        """
        if self.store is None:
            return [text]
        self._meetings += 1
        keys = [f"{self._meetings}/{rank}" for rank in range(self.processes.size)]
        seconds = timeout_s or self.timeout_s
        try:
            self.store.set(keys[self.processes.rank], "." + text)
            self.store.wait(keys, timedelta(seconds=seconds))
            return [self.store.get(k).decode()[1:] for k in keys]
        except RuntimeError as err:
            raise LostProcessError(self._missing(keys, seconds)) from err

    def _missing(self, keys: list[str], seconds: float) -> str:
        missing: list[int] = []
        with suppress(RuntimeError):
            missing = [r for r, k in enumerate(keys) if not self.store or not self.store.check([k])]
        who = f"process {', '.join(map(str, missing))}" if missing else "process 0"
        return (
            f"{who} of {self.processes.size} did not come within {seconds:g} s (${TIMEOUT_NAME}); "
            "start all processes of the run"
        )

    @contextmanager
    def together(self, *, timeout_s: float | None = None) -> Iterator[None]:
        """Make an error of one process in this block an error of all at its end."""
        if self.store is None:
            yield
            return
        own: SecoError | None = None
        try:
            yield
        except SecoError as err:
            own = err
        except BaseException as err:
            self.gather(f"{type(err).__name__}: {' '.join(str(err).split())[:200]}", timeout_s=timeout_s)
            raise
        texts = self.gather(str(own or ""), timeout_s=timeout_s)
        failed = next((r for r, t in enumerate(texts) if t), None)
        if failed is None:
            return
        error = own or SecoError(f"process {failed} of {len(texts)}: {texts[failed]}")
        error.silent = not self.leads  # type: ignore[attr-defined]
        raise error

    def same(self, values: Mapping[str, Any]) -> None:
        """Check that every process has the same values.

        Raises:
            ConfigError: one differs from process 0.
        """
        first, *others = [json.loads(t) for t in self.gather(json.dumps(values, default=str, sort_keys=True))]
        for rank, other in enumerate(others, start=1):
            different = [k for k in first | other if first.get(k) != other.get(k)]
            if different:
                k = different[0]
                error = ConfigError(
                    f"process {rank} has {k} {other.get(k)}, process 0 has {first.get(k)}; start all processes with the "
                    "same settings, data and run folder"
                )
                error.silent = not self.leads  # type: ignore[attr-defined]
                raise error

    def claim(self) -> bool:
        """Return whether this process is the first that has an error to say: one line is enough."""
        try:
            return self.store is None or self.store.add("said", 1) == 1
        except RuntimeError:
            return True  # the store went with process 0

    def leave(self) -> None:
        """Tell that this process is done; who holds the store waits a little for the others to have read it."""
        if self.store is None:
            return
        with suppress(RuntimeError):
            self.store.add("left", 1)
            end = time.monotonic() + 10
            while self.leads and self.store.add("left", 0) < self.processes.size and time.monotonic() < end:
                time.sleep(0.05)


@contextmanager
def join() -> Iterator[Team]:
    """Meet the other processes that the environment tells of; alone where it tells of none.

    Raises:
        ConfigError: the environment says something impossible.
        LostProcessError: the others do not come.
    """
    size, rank = _number("WORLD_SIZE", 1), _number("RANK", 0)
    if size == 1:
        yield Team()
        return
    if not 0 <= rank < size:
        raise ConfigError(f"RANK {rank} of WORLD_SIZE {size}; ranks are 0 to {size - 1}")
    timeout_s = float(os.environ.get(TIMEOUT_NAME) or TIMEOUT_S)
    store = _meet(rank, timeout_s)
    team = Team(
        processes=Processes(rank=rank, size=size), local_rank=_number("LOCAL_RANK", rank), timeout_s=timeout_s,
        store=store,
    )  # fmt: skip
    try:
        with team.together():
            pass  # everybody is here
        backend = None if torch.cuda.is_available() else "gloo"
        group_store = PrefixStore("group", store)
        dist.init_process_group(
            backend, store=group_store, rank=rank, world_size=size, timeout=timedelta(seconds=timeout_s)
        )
        yield team
        dist.destroy_process_group()
    except SecoError as err:
        if not hasattr(err, "silent"):
            err.silent = not team.claim()  # type: ignore[attr-defined]
        raise
    finally:
        team.leave()


def _meet(rank: int, timeout_s: float) -> Store:
    address, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), _number("MASTER_PORT", 29500)
    hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    try:
        return TCPStore(
            address,
            port,
            None,
            rank == 0 and not hosted,
            timedelta(seconds=timeout_s),
            wait_for_workers=False,
        )
    except RuntimeError as err:
        words = " ".join(str(err).split())[:160]
        raise LostProcessError(
            f"process {rank} cannot meet the others at {address}:{port} ({words}); check MASTER_ADDR and MASTER_PORT"
        ) from err


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        raise ConfigError(f"{name} is {text!r} in the environment; it must be a number")
    return int(text)
