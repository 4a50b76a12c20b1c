"""Where and in which precision to compute."""

from __future__ import annotations

import ctypes
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from seco.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16"]


def pick_device(name: str = "auto", *, number: int | None = None) -> torch.device:
    """Return the device asked for, or the best there is.

    Args:
        name: auto, cpu, cuda, ...
        number: of this process on its machine; accelerators without a number of their own are shared out by it.

    Raises:
        ConfigError: it is not there.
    """
    if number is not None and name in ("auto", "cuda") and torch.cuda.is_available():
        if number >= torch.cuda.device_count():
            raise ConfigError(
                f"process {number} on this machine has no GPU of its own, there are {torch.cuda.device_count()}; start as "
                "many processes as GPUs, or use --device cpu"
            )
        torch.cuda.set_device(number)
        return torch.device("cuda", number)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as err:
        raise ConfigError(
            f"device {name!r} cannot be used here ({str(err).splitlines()[0]}); try --device auto"
        ) from err
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Say whether the device has bf16 arithmetic of its own; elsewhere it is emulated and slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, n, lambda: False)() for n in names)
    return False


def pick_precision(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """Resolve `auto`: bf16 where the machine has it, else fp32.

    Raises:
        ConfigError: bf16 is asked of an accelerator that has none; a CPU emulates it, slowly but rightly.
    """
    if precision == "auto":
        return "bf16" if has_fast_bf16(device) else "fp32"
    if precision == "bf16" and device.type != "cpu" and not has_fast_bf16(device):
        raise ConfigError(
            f"precision bf16 on {device}: this device has no bf16 arithmetic; use --precision auto or fp32"
        )
    return precision


def broken_in_bf16(net: nn.Module, num_bands: int, *, px: int) -> str | None:
    """Return the name of a convolution whose weights' gradient a CPU gets wrong in bf16, or None.

    Where the kernel reaches further than the whole image (3 x 3 on one pixel), some of its weights meet padding only, so
    their gradient is 0; PyTorch 2.14 on CPUs with AVX-512 bf16 leaves there what the memory held before, often NaN.
    Depthwise convolutions are right, and frozen ones have none.
    """
    found: list[str] = []

    def look(name: str, conv: nn.Conv2d, x: Tensor) -> None:
        reach = max((k - 1) * d // 2 for k, d in zip(conv.kernel_size, conv.dilation, strict=True))
        if conv.groups == 1 and conv.weight.requires_grad and reach >= min(x.shape[-2:]):
            found.append(name)

    hooks = [
        module.register_forward_pre_hook(lambda m, x, name=name: look(name, m, x[0]))
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    training = net.training
    try:
        with torch.no_grad():
            net.eval()(
                torch.zeros(1, num_bands, px, px, device=next(net.parameters(), torch.empty(0)).device)
            )
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


def autocast(precision: Literal["fp32", "bf16"], device: torch.device) -> AbstractContextManager[object]:
    """Return the context to compute in."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed blocks from here on, instead of handing each activation back to the kernel.

    By default every tensor above 32 MB is a fresh mapping, whose pages the kernel zeroes anew at every step. Returns
    whether it could be asked.
    """
    if sys.platform != "linux":
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
        mallopt = libc.mallopt
        libc.malloc_trim(0)  # what was freed so far: choosing among a million places leaves some 50 MB
    except (OSError, AttributeError):
        return False
    trim_threshold, mmap_threshold = -1, -3
    return bool(mallopt(mmap_threshold, 2**30) and mallopt(trim_threshold, 2**31 - 1))
