"""Foreign checkpoints into our encoders, and our encoders into SeCo's published layout. Nothing is silently skipped."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from seco.errors import CheckpointError, ConfigError
from seco.nets.backbones import build_backbone, feature_dim
from seco.nets.encoder import Encoder, load_folder
from seco.nets.heads import projection_head
from seco.nets.spec import EncoderSpec
from seco.runs import write_json
from seco.use.feeding import Options, feed_of
from seco.use.foreign import Foreign, read_foreign
from seco.use.layouts._arch import RESNETS, VITS, detect
from seco.use.layouts._contract import COUNTER, Layout, Parts, count, some
from seco.use.layouts._feeds import Feed

REPORT_NAME = "conversion.json"
HALF = (torch.float16, torch.bfloat16)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion:
    """What was made, and what of the source is not in it."""

    layout: str
    encoder: Encoder
    dropped: dict[str, int]
    filled: tuple[str, ...]
    notes: tuple[str, ...]


def names() -> list[str]:
    """Return the names of all layouts."""
    package = importlib.import_module("seco.use.layouts")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def find(name: str) -> Layout:
    """Return a layout by name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in names():
        raise ConfigError(f"no layout {name!r}; known: {', '.join(names())}")
    return cast(Layout, importlib.import_module(f"seco.use.layouts.{name}"))


def detect_layout(foreign: Foreign, arch: str | None = None) -> Layout:
    """Tell a file's layout from its names; where they tell nothing, a timm model that only timm publishes has timm's.

    Raises:
        CheckpointError: none fits, or several do.
    """
    fitting = [n for n in names() if find(n).matches(foreign)]
    if len(fitting) == 1:
        return find(fitting[0])
    # ResNets and plain ViTs are published under the same names by others too, who fed them otherwise.
    if arch is not None and not fitting and arch not in (*RESNETS.values(), *VITS.values()):
        return find("timm")
    known = ", ".join(names())
    if fitting:
        raise CheckpointError(
            f"{foreign.path} fits the layouts {', '.join(fitting)}; choose one with --layout"
        )
    shown = some([str(k) for k in foreign.content])
    raise CheckpointError(
        f"{foreign.path} is of no layout that can be told from its names ({shown}); "
        f"say which with --layout ({known}), or with --arch which other timm model it is"
    )


def convert(source: Path, out: Path, options: Options | None = None) -> Conversion:
    """Make one of our encoder folders of a foreign checkpoint.

    Raises:
        CheckpointError: the file cannot be read, does not fit, or `out` exists.
    """
    options = options or Options()
    require_new(out)
    foreign = read_foreign(source)
    layout = detect_layout(foreign, options.arch) if options.layout == "auto" else find(options.layout)
    parts = layout.read(foreign)
    arch = _arch(parts, options)
    parts = _without_classifier(parts, arch)
    num_bands = _num_bands(parts.backbone, arch)
    backbone = build_backbone(arch, num_bands)
    filled = fit(backbone, parts.backbone, what=str(source), arch=arch, half=options.half)
    feed = feed_of(foreign.path, parts.feed, arch, num_bands, options)
    spec = _spec(layout, parts, feed, options, arch=arch, dim=feature_dim(backbone))
    heads = nn.ModuleDict()
    for name, state in zip(spec.heads, parts.heads, strict=False):
        heads[name] = _head(state, spec.feature_dim, what=f"{source}: head {name}", half=options.half)
    dropped = dict(parts.dropped)
    if options.heads == "drop" and parts.heads:
        dropped["projection heads (--heads drop)"] = sum(len(h) for h in parts.heads)
    encoder = Encoder(spec=spec, backbone=backbone, heads=heads, name=out.name, device="cpu")
    notes = [
        f"{n} became an empty dictionary: not loaded, since it could run code" for n in foreign.stand_ins
    ]
    done = Conversion(layout=layout.NAME, encoder=encoder, dropped=dropped, filled=filled, notes=tuple(notes))
    _write(done, foreign, out)
    return done


def _write(done: Conversion, foreign: Foreign, out: Path) -> None:
    """Write the folder under another name, read it back, compare, rename."""
    temporary = out.with_name(f".{out.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        done.encoder.save(temporary)
        again = load_folder(temporary, name=out.name, device="cpu")
        theirs, ours = done.encoder.net.state_dict(), again.net.state_dict()
        if any(not torch.equal(theirs[k], ours[k]) for k in theirs):
            raise CheckpointError(f"{temporary} does not hold what was written; is the disk sound?")
        report = {
            "source": foreign.path.name, "sha256": foreign.sha256(), "layout": done.layout,
            "dropped": done.dropped, "filled": list(done.filled), "notes": list(done.notes),
        }  # fmt: skip
        write_json(temporary / REPORT_NAME, report)
        temporary.rename(out)
    except OSError as err:
        raise CheckpointError(f"cannot write {out}: {err}; choose another folder") from err
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_new(out: Path) -> None:
    """Refuse to overwrite.

    Raises:
        CheckpointError: `out` exists.
    """
    if out.exists() or out.is_symlink():
        raise CheckpointError(f"{out} exists; choose another name or remove it")


def _arch(parts: Parts, options: Options) -> str:
    """Return the architecture that the user or the weights say; what a damaged file says of itself tells what it lacks."""
    said = parts.about.get("arch")
    if options.arch is not None:
        return options.arch
    try:
        found = detect(parts.backbone)
    except CheckpointError:
        if said not in RESNETS.values():
            raise
        return str(said)
    if said is not None and said != found:
        raise CheckpointError(
            f"the checkpoint says it is a {said}, its weights are those of a {found}; say which with --arch"
        )
    return found


def _without_classifier(parts: Parts, arch: str) -> Parts:
    """Drop the classifier, whose name timm tells."""
    import timm

    config = timm.get_pretrained_cfg(arch) if timm.is_model(arch) else None
    named = config.classifier if config is not None else ("fc", "head", "classifier")
    prefixes = tuple(f"{n}." for n in ((named,) if isinstance(named, str) else named or ()))
    lost = [k for k in parts.backbone if k.startswith(prefixes)] if prefixes else []
    if not lost:
        return parts
    return dataclasses.replace(
        parts,
        backbone={k: v for k, v in parts.backbone.items() if k not in lost},
        dropped={**parts.dropped, f"{some(lost)} (classifier)": len(lost)},
    )


def _num_bands(state: Mapping[str, Tensor], arch: str) -> int:
    """Return the input channels of the first convolution."""
    import timm

    if not timm.is_model(arch):
        build_backbone(arch, 3)  # says what is wrong, and similar names
    config = timm.get_pretrained_cfg(arch)
    first = config.first_conv if config is not None else None
    first = first[0] if isinstance(first, (tuple, list)) else first
    for name in (first, "conv1", "patch_embed.proj", "conv_stem"):
        weight = state.get(f"{name}.weight")
        if weight is not None and weight.ndim == 4:
            return int(weight.shape[1])
    raise CheckpointError(
        f"the weights have no first convolution of a {arch} ({first or 'conv1'}.weight): {count(list(state), 'name')}, "
        f"{some(list(state))}; is the --layout or --arch right?"
    )


def fit(
    net: nn.Module, state: Mapping[str, Tensor], *, what: str, arch: str, half: str = "refuse"
) -> tuple[str, ...]:
    """Load weights of exactly a network's names, shapes and 32 bits, all finite.

    Returns:
        Names that were filled with zeros: batch norm's counters, where the file has none at all.

    Raises:
        CheckpointError: something is missing, unknown, of another shape or type, or not finite.
    """
    own = net.state_dict()
    counters = [k for k in own if k.endswith(COUNTER)]
    filled = tuple(counters) if not any(k in state for k in counters) else ()
    missing = [k for k in own if k not in state and k not in filled]
    unknown = [k for k in state if k not in own]
    shapes = [
        f"{k} is {tuple(state[k].shape)}, not {tuple(own[k].shape)}"
        for k in own if k in state and state[k].shape != own[k].shape
    ]  # fmt: skip
    problems = [
        f"{count(found, word)}: {some(found)}"
        for found, word in (
            (missing, "missing name"),
            (unknown, "unknown name"),
            (shapes, "misshapen weight"),
        )
        if found
    ]
    if problems:
        raise CheckpointError(f"{what} does not fit {arch}: {'; '.join(problems)}")
    ready = {}
    for name, target in own.items():
        value = state.get(name)
        if value is None:
            ready[name] = torch.zeros_like(target)
            continue
        if half == "widen" and value.dtype in HALF:
            value = value.to(target.dtype)
        if value.dtype != target.dtype:
            hint = (
                "take it with --half widen" if value.dtype in HALF else f"save it as {_dtype(target.dtype)}"
            )
            raise CheckpointError(
                f"{what}: {name} has type {_dtype(value.dtype)}, not {_dtype(target.dtype)}; {hint}"
            )
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise CheckpointError(
                f"{what}: {name} has {int((~torch.isfinite(value)).sum())} numbers that are not finite; they are spoilt"
            )
        ready[name] = value
    net.load_state_dict(ready)
    return filled


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _head(state: dict[str, Tensor], dim: int, *, what: str, half: str) -> nn.Module:
    last = state["2.weight"]
    head = projection_head(dim, int(last.shape[0]) if last.ndim == 2 else 128)
    fit(head, state, what=what, arch=f"a projection of {dim} features", half=half)
    return head


def _spec(layout: Layout, parts: Parts, feed: Feed, options: Options, *, arch: str, dim: int) -> EncoderSpec:
    """Put together the spec."""
    kept = parts.heads if options.heads == "keep" else ()
    return EncoderSpec(
        arch=arch, bands=feed.bands, mean=feed.mean, std=feed.std, clip=feed.clip,
        patch_px=options.patch_px or feed.patch_px, feature_dim=dim,
        heads=tuple(f"z{i}" for i in range(len(kept))), method=parts.about.get("method", layout.METHOD),
        num_steps=parts.about.get("num_steps", 0),
        source=options.origin or layout.SOURCE, licence=options.licence or layout.LICENCE,
    )  # fmt: skip


def to_seco(encoder: Encoder, out: Path) -> dict[str, Any]:
    """Write an encoder as a checkpoint of SeCo's published layout, loadable with `weights_only=True`.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: the layout cannot hold it, or `out` exists.
    """
    from seco.use.layouts import seco as layout

    require_new(out)
    content = layout.write(encoder)
    save_torch(content, out)
    return content


def save_torch(content: Mapping[str, Any], out: Path) -> None:
    """Write with `torch.save` under a temporary name, rename.

    Raises:
        CheckpointError: it cannot be written.
    """
    temporary = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        torch.save(dict(content), temporary)
        temporary.replace(out)
    except (OSError, RuntimeError) as err:
        raise CheckpointError(f"cannot write {out}: {err}; free disk space or choose another folder") from err
    finally:
        with suppress(OSError):  # there is none, or no folder that could hold it
            temporary.unlink()
