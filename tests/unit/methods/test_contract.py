"""What every method offers, run over every method found."""

import copy
import dataclasses
import itertools
import math

import pytest
import torch

from seco.config import build, hints, to_plain
from seco.errors import CheckpointError, ConfigError, TrainingError
from seco.methods import _contract as contract
from seco.methods._contract import Method, MethodModule, Setup
from seco.methods._engine import Options, derive, learning_rate
from seco.nets.backbones import build_backbone, feature_dim
from seco.views.plan import ViewPlan

NAMES = contract.names()
BATCH, STEPS = 6, 10


def make(name, *, options=None, precision="fp32", seed=0, arch="test_resnet"):
    module = contract.find(name)
    given = build(module.Options, {"queue_size": 16, "group_size": 3, **(options or {})})
    resolved = module.derive(given, num_places=20, num_steps=STEPS, batch_size=BATCH)
    backbone = build_backbone(arch, 3, seed=seed)
    setup = Setup(
        backbone=backbone, feature_dim=feature_dim(backbone), num_places=20, num_steps=STEPS, batch_size=BATCH, seed=seed,
        precision=precision,
    )  # fmt: skip
    return module.build(setup, resolved)


def make_views(name, step, *, num=BATCH):
    generator = torch.Generator().manual_seed(step)
    return {v.name: torch.randn(num, 3, 16, 16, generator=generator) for v in contract.find(name).PLAN.views}


def run(method, name, steps):
    return [method.update(make_views(name, s), step=s) for s in steps]


def copied(state):
    return {k: v.clone() for k, v in state.items()}


def equal(a, b):
    return set(a) == set(b) and all(torch.equal(a[k], b[k]) for k in a)


def test_the_methods_are_found_by_their_module_names():
    assert {"seco", "moco", "moco-tp"} <= set(NAMES)
    with pytest.raises(ConfigError, match=r"no method 'nothing'; known: .*moco"):
        contract.find("nothing")
    with pytest.raises(ConfigError, match="no method '_engine'"):
        contract.find("_engine")


@pytest.mark.parametrize("name", NAMES)
def test_a_method_declares_help_a_valid_plan_and_frozen_options_made_of_settings(name):
    module = contract.find(name)
    assert isinstance(module, MethodModule)
    assert module.HELP
    assert "\n" not in module.HELP
    assert (
        ViewPlan(**{f.name: getattr(module.PLAN, f.name) for f in dataclasses.fields(ViewPlan)})
        == module.PLAN
    )
    assert module.PLAN.heads
    options = module.Options()
    assert options.__dataclass_params__.frozen
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(options, dataclasses.fields(options)[0].name, 1)
    with pytest.raises(TypeError):
        module.Options(1)  # keyword-only
    assert set(hints(module.Options)) == {f.name for f in dataclasses.fields(options)}
    for field in dataclasses.fields(options):
        assert field.metadata.get("help"), field.name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("places", "steps", "batch"), [(2, 1, 2), (3, 5, 2), (1900, 600, 64), (10**6, 10**6, 4096)]
)
def test_derive_fills_everything_and_keeps_what_was_given(name, places, steps, batch):
    module = contract.find(name)
    sizes = {"num_places": places, "num_steps": steps, "batch_size": batch}
    full = module.derive(module.Options(), **sizes)
    assert [k for k, v in to_plain(full).items() if v is None] == [
        "queue_size"
    ]  # negatives of the batch need none
    queued = module.derive(module.Options(negatives="queue"), **sizes)
    assert None not in to_plain(queued).values()
    assert module.derive(full, **sizes) == full
    assert build(module.Options, to_plain(full)) == full
    first = next(iter(to_plain(full)))
    kept = module.derive(full, num_places=7, num_steps=3, batch_size=3)
    assert getattr(kept, first) == getattr(full, first)


@pytest.mark.parametrize("name", NAMES)
def test_updates_give_finite_numbers_change_the_weights_and_fill_the_queues(name):
    method = make(name)
    assert isinstance(method, Method)
    before = copied(method.state_dict())
    logged = run(method, name, range(3))
    for numbers in logged:
        assert {"loss", "lr"} <= set(numbers)
        assert all(isinstance(v, float) and math.isfinite(v) for v in numbers.values())
        for head in contract.find(name).PLAN.heads:
            assert 0 <= numbers[f"accuracy_{head.name}"] <= 1
        assert numbers["loss"] == pytest.approx(
            sum(v for k, v in numbers.items() if k.startswith("loss_")), rel=1e-6
        )
    after = method.state_dict()
    assert all(torch.isfinite(v).all() for v in after.values() if v.is_floating_point())
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    for part in ("net.query.backbone", "net.query.heads", "net.key.backbone", "net.key.heads", "net.queues"):
        assert any(k.startswith(part) for k in changed), part
    backbone, heads = method.encoder()
    assert list(heads) == [h.name for h in contract.find(name).PLAN.heads]
    assert backbone(torch.zeros(2, 3, 16, 16)).shape[0] == 2


@pytest.mark.parametrize("name", NAMES)
def test_an_update_lowers_the_loss_it_was_made_for(name):
    method = make(name, options={"lr": 0.02, "warmup_steps": 0, "momentum": 0.999})
    views = make_views(name, 0)
    before = copied(method.state_dict())
    first = method.update(views, step=0)["loss"]
    # The keys just pushed are the views' own positives, so keys and queues go back to what the first loss saw.
    method.load_state_dict(
        {k: before.get(k, v) if ".query." not in k else v for k, v in method.state_dict().items()}
    )
    assert method.update(views, step=0)["loss"] < 0.9 * first


@pytest.mark.parametrize("name", NAMES)
def test_a_state_taken_up_again_goes_on_exactly(name):
    whole = make(name)
    straight = run(whole, name, range(5))
    first = make(name)
    run(first, name, range(2))
    state = copied(first.state_dict())
    second = make(name, seed=0)
    second.load_state_dict(state)
    assert equal(second.state_dict(), state)
    assert run(second, name, range(2, 5)) == straight[2:]
    assert equal(second.state_dict(), whole.state_dict())


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_a_state_read_from_a_file_lies_in_memory_as_the_weights_do(optimiser):
    """Files keep moments row by row; a fused update would pair them with the wrong weights of a channels-last kernel."""
    whole, other = (make("seco", options={"optimiser": optimiser}) for _ in range(2))
    whole.to(torch.device("cpu"))
    other.to(torch.device("cpu"))
    run(whole, "seco", range(2))
    other.load_state_dict({k: v.contiguous().clone() for k, v in whole.state_dict().items()})
    for parameter in other.net.query.parameters():
        for value in other.optimiser.state[parameter].values():
            assert value.dim() == 0 or value.stride() == parameter.stride()
    assert run(other, "seco", range(2, 5)) == run(whole, "seco", range(2, 5))
    assert equal(other.state_dict(), whole.state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_the_state_holds_queues_key_networks_and_momentum_and_loading_copies(name):
    method = make(name)
    run(method, name, range(2))
    state = method.state_dict()
    for head in contract.find(name).PLAN.heads:
        assert state[f"net.queues.{head.name}.keys"].shape == (16, 128)
        assert int(state[f"net.queues.{head.name}.position"]) == 2 * BATCH
    assert any(k.startswith("net.key.backbone.") and k.endswith("running_mean") for k in state)
    num = len(list(method.net.query.parameters()))
    for what in ("exp_avg", "exp_avg_sq", "step"):
        assert len([k for k in state if k.startswith("optimiser.") and k.endswith(f".{what}")]) == num
    kept = copied(state)
    other = make(name)
    other.load_state_dict(kept)
    before = copied(kept)
    run(other, name, range(2, 3))
    assert equal(kept, before)  # training on does not write into the state it was given


@pytest.mark.parametrize("name", NAMES)
def test_without_its_queue_a_resumed_run_differs(name):
    """The warning from the field: a queue that is not saved. This is what the exact test above would see."""
    method = make(name)
    run(method, name, range(2))
    state = copied(method.state_dict())
    for key in list(state):
        if ".queues." in key:
            state[key] = make(name).state_dict()[key]
    other = make(name)
    other.load_state_dict(state)
    assert run(other, name, range(2, 3)) != run(method, name, range(2, 3))


@pytest.mark.parametrize("name", NAMES)
def test_a_state_of_another_model_is_refused(name):
    other = make(name, arch="test_efficientnet").state_dict()
    with pytest.raises(CheckpointError, match=r"does not fit this model.*resume with the settings"):
        make(name).load_state_dict(other)
    queue = make(name, options={"queue_size": 8}).state_dict()
    with pytest.raises(CheckpointError, match="queues"):
        make(name).load_state_dict(queue)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_that_is_not_finite_stops_before_anything_is_learned_from_it(name):
    method = make(name)
    run(method, name, range(1))
    before = copied(
        {
            k: v
            for k, v in method.state_dict().items()
            if "query" in k and "running" not in k and "tracked" not in k
        }
    )
    queues = copied(
        {k: v for k, v in method.state_dict().items() if ".queues." in k or k.startswith("optimiser.")}
    )
    views = make_views(name, 1)
    views["q"][0] = math.nan
    with pytest.raises(TrainingError, match="loss is nan at step 1"):
        method.update(views, step=1)
    after = method.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in {**before, **queues}.items())


@pytest.mark.parametrize("name", NAMES)
def test_bf16_is_near_fp32(name):
    full, half = make(name), make(name, precision="bf16")
    a, b = run(full, name, range(1))[0], run(half, name, range(1))[0]
    assert a["loss"] != b["loss"]
    assert b["loss"] == pytest.approx(a["loss"], rel=0.05)
    assert all(v.dtype != torch.bfloat16 for v in half.state_dict().values())


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_a_function_of_the_seed_and_no_global_generator_is_touched(name):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    a = make(name, seed=1)
    run(a, name, range(1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    b = make(name, seed=1)
    run(b, name, range(1))
    assert equal(a.state_dict(), b.state_dict())
    c = make(name, seed=2)
    assert not equal(a.state_dict(), c.state_dict())


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_a_fused_update_is_the_plain_one(optimiser):
    """Losses and weights of some steps against PyTorch's loop over parameters, from the same start."""
    fused = make("seco", options={"optimiser": optimiser, "weight_decay": 0.05})
    plain = make("seco", options={"optimiser": optimiser, "weight_decay": 0.05})
    for group in plain.optimiser.param_groups:
        assert group["fused"]
        group.update(fused=False, foreach=False)
    for a, b in zip(run(fused, "seco", range(4)), run(plain, "seco", range(4)), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    ours, theirs = fused.state_dict(), plain.state_dict()
    assert set(ours) == set(theirs)
    for key in ours:
        assert (ours[key].double() - theirs[key].double()).abs().max() < 1e-4, key


def test_the_options_change_what_they_say():
    assert make("seco", options={"momentum": 0.5}).net.momentum == 0.5
    plain, none = make("seco"), make("seco", options={"siblings": "none"})
    a, b = run(plain, "seco", range(1))[0], run(none, "seco", range(1))[0]
    assert a["loss_z0"] == b["loss_z0"]
    assert a["loss_z1"] > b["loss_z1"]
    hot = run(make("seco", options={"temperature": 10.0}), "seco", range(1))[0]
    # At a high temperature all keys are alike: the loss is the logarithm of their number.
    assert hot["loss_z0"] == pytest.approx(math.log(1 + 16), abs=0.1)
    assert hot["loss_z1"] == pytest.approx(math.log(1 + 16 + 2 * BATCH), abs=0.1)


# --- schedule and derived values ----------------------------------------------------------------------------------------


def rates(num_steps, **options):
    full = derive(Options(**{"lr": 1.0, **options}), num_places=100, num_steps=num_steps, batch_size=8)
    return [learning_rate(full, step=s, num_steps=num_steps) for s in range(num_steps)]


def test_cosine_with_warm_up():
    assert rates(4, warmup_steps=0) == pytest.approx(
        [1, 0.5 * (1 + math.cos(math.pi / 4)), 0.5, 0.5 * (1 - math.sqrt(0.5))]
    )
    assert rates(6, warmup_steps=2) == pytest.approx([0.5, 1, 1, 0.853553, 0.5, 0.146447], abs=1e-6)
    got = rates(200)  # 5% warm-up: ten steps
    assert got[:10] == pytest.approx([i / 10 for i in range(1, 11)])
    assert got[10] == 1
    assert all(a > b for a, b in itertools.pairwise(got[10:]))
    assert 0 < got[-1] < 0.001


def test_drops_at_60_and_80_percent():
    got = rates(200, schedule="drops", warmup_steps=0)
    assert got[:120] == [1.0] * 120  # the paper: 200 epochs, x0.1 at 120 and 160
    assert got[120:160] == pytest.approx([0.1] * 40)
    assert got[160:] == pytest.approx([0.01] * 40)


@pytest.mark.parametrize("warmup", [0, 1, 5, 50])
@pytest.mark.parametrize("schedule", ["cosine", "drops"])
def test_rates_are_positive_and_at_most_the_one_asked_even_where_warm_up_is_longer_than_the_run(
    warmup, schedule
):
    for num_steps in (1, 2, 7):
        assert all(0 < r <= 1 for r in rates(num_steps, warmup_steps=warmup, schedule=schedule))


@pytest.mark.parametrize(
    ("places", "steps", "batch", "given", "chosen"),
    [
        (
            1900,
            600,
            64,
            {},
            {"negatives": "batch", "queue_size": None, "momentum": 0.9833, "warmup_steps": 30},
        ),
        (1900, 600, 64, {}, {"optimiser": "adamw", "lr": 0.000707, "weight_decay": 0.05}),
        (1900, 600, 64, {"negatives": "both"}, {"queue_size": 1024}),
        (1900, 600, 64, {"queue_size": 7}, {"negatives": "queue", "queue_size": 7}),
        (300, 100, 300, {"negatives": "queue"}, {"queue_size": 300}),  # never less than the batch
        (2048, 100, 256, {"negatives": "queue"}, {"queue_size": 2048, "momentum": 0.96, "warmup_steps": 5}),
        (10**6, 10**5, 128, {"negatives": "queue"}, {"queue_size": 16384, "momentum": 0.999, "lr": 0.001}),
        (10**6, 10**5, 128, {"optimiser": "sgd"}, {"lr": 0.06, "weight_decay": 1e-4, "warmup_steps": 5000}),
        (
            1,
            1,
            2,
            {"negatives": "queue"},
            {"queue_size": 2, "momentum": 0.96, "lr": 0.000125, "warmup_steps": 0},
        ),
    ],
)
def test_what_is_derived(places, steps, batch, given, chosen):
    full = to_plain(derive(Options(**given), num_places=places, num_steps=steps, batch_size=batch))
    assert {k: full[k] for k in chosen} == pytest.approx(chosen)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"lr": 0.0}, "learning rate 0.0"),
        ({"lr": -0.1}, "above 0"),
        ({"lr": math.nan}, "nan"),
        ({"lr": 1e4}, "10000"),
        ({"warmup_steps": -1}, "warm-up of -1"),
        ({"momentum": 1.0}, "momentum 1.0"),
        ({"momentum": -0.1}, "momentum -0.1"),
        ({"temperature": 0.0}, "temperature 0.0"),
        ({"queue_size": 0}, "queue of 0"),
        ({"negatives": "batch"}, "queue of 16 keys, but negatives are those of the batch"),
        ({"group_size": 1}, "group of 1"),
        (
            {"group_size": 7},
            "batch of 6 places is smaller than a batch-norm group of 7 keys; lower --group-size to at most 3",
        ),
        ({"queue_size": 5}, "queue of 5 keys is smaller than the batch of 6 places"),
        ({"weight_decay": -1.0}, "weight decay"),
        (
            {"freeze_norm": True, "key_norm": "ema"},
            "--key-norm ema follows statistics that --freeze-norm keeps",
        ),
        ({"sgd_momentum": -0.5}, "momentum of SGD"),
    ],
)
def test_options_out_of_range_are_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        make("seco", options=wrong)


def test_a_deep_copy_of_an_encoder_stays_as_it_was():
    method = make("seco")
    backbone, _ = method.encoder()
    kept = copy.deepcopy(backbone).state_dict()
    run(method, "seco", range(2))
    assert not equal(kept, backbone.state_dict())
