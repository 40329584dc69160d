"""Counting what devices exchange: by hand, in a small program, and in the training step."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import bench_scale
from benchmarks.cases import build_model, configuration, random_batch
from benchmarks.collectives import array_bytes, volume
from benchmarks.reference.cases import CASES
from exflow.core import process
from exflow.training.groups import STATISTICS
from exflow.training.sharding import make_mesh, replicated, sharded_sets

BY_HAND = """HloModule jit_step, is_scheduled=true, entry_computation_layout={(f32[16,3]{1,0})->f32[]}, num_partitions=8

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

%body (carry: (s32[], f32[4])) -> (s32[], f32[4]) {
  %carry = (s32[], /*index=1*/f32[4]{0}) parameter(0)
  %number = s32[] get-tuple-element(%carry), index=0
  %x.1 = f32[4]{0} get-tuple-element(%carry), index=1
  %all-reduce.7 = f32[4]{0} all-reduce(%x.1), channel_id=7, replica_groups=[1,8]<=[8], to_apply=%add
  ROOT %next = (s32[], f32[4]{0}) tuple(%number, %all-reduce.7)
}

%condition (carry.1: (s32[], f32[4])) -> pred[] {
  %carry.1 = (s32[], f32[4]{0}) parameter(0)
  ROOT %less = pred[] constant(true)
}

ENTRY %main (a: f32[16,3], b: bf16[5]) -> f32[] {
  %a = f32[16,3]{1,0:T(8,128)} parameter(0)
  %b = bf16[5]{0} parameter(1)
  %all-reduce = (f32[16,3]{1,0}, bf16[5]{0}) all-reduce(%a, %b), channel_id=1, replica_groups=[1,8]<=[8], to_apply=%add
  %first = f32[16,3]{1,0} get-tuple-element(%all-reduce), index=0
  %start = (bf16[5]{0}, bf16[40]{0}) all-gather-start(%b), channel_id=2, dimensions={0}, metadata={op_name="f(x)"}
  %done = bf16[40]{0} all-gather-done(%start)
  %permuted = f32[16,3]{1,0} collective-permute(f32[16,3]{1,0} %first), channel_id=3, source_target_pairs={{0,1}}
  %zero = s32[] constant(0)
  %four = f32[4]{0} constant({1, 2, 3, 4})
  %tuple = (s32[], f32[4]{0}) tuple(%zero, %four)
  %while = (s32[], f32[4]{0}) while(%tuple), condition=%condition, body=%body, TRIPS
  ROOT %result = f32[] constant(0)
}
"""
KNOWN = 'backend_config={"known_trip_count":{"n":"5"},"known_init_step":{"init":"0"}}'


def test_volume_of_a_program_written_by_hand():
    found = volume(BY_HAND.replace("TRIPS", KNOWN))
    assert found.bytes == {
        "all-gather": 5 * 2,
        "all-reduce": 16 * 3 * 4 + 5 * 2 + 5 * (4 * 4),  # five passes of the loop
        "collective-permute": 16 * 3 * 4,
    }
    assert found.number == {"all-gather": 1, "all-reduce": 1 + 5, "collective-permute": 1}
    assert found.total == 484
    assert found.chain == 5  # the loop; the permutation waits for one all-reduce


def test_volume_of_what_cannot_be_counted():
    with pytest.raises(ValueError, match="body: has a collective in a loop of unknown length"):
        volume(BY_HAND.replace("TRIPS", "metadata={}"))
    with pytest.raises(ValueError, match=r"Give it compiled\.as_text"):
        volume("module @jit_f {}")


@pytest.mark.parametrize(
    ("hlo_type", "size"),
    [("f32[]", 4), ("pred[7]{0}", 7), ("s4[3]", 2), ("f8e4m3fn[2,2]{1,0}", 4), ("(c64[2], token[], u8[0])", 16)],
)
def test_bytes_of_types(hlo_type, size):
    assert array_bytes(hlo_type) == size


@pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")
@pytest.mark.parametrize("passes", [1, 3])
def test_a_gradient_is_reduced_and_nothing_else(passes):
    """The parameters of a small regression, and the loss; in a loop over layers that share them, in every pass."""
    mesh = make_mesh(jax.devices()[:2])

    def step(params, x):
        def loss(params):
            def layer(y, _):
                return jnp.tanh(y @ params["weight"] + params["bias"][None]), None

            return (jax.lax.scan(layer, x, length=passes)[0] ** 2).mean()

        return jax.value_and_grad(loss)(params)

    shapes = {"weight": (16, 16), "bias": (16,)}
    params = {name: jax.ShapeDtypeStruct(shape, "f4", sharding=replicated(mesh)) for name, shape in shapes.items()}
    x = jax.ShapeDtypeStruct((8, 16), "f4", sharding=sharded_sets(mesh))
    compiled = jax.jit(step, out_shardings=replicated(mesh)).lower(params, x).compile()
    assert volume(compiled.as_text()).bytes == {"all-reduce": 4 * (passes * (16 * 16 + 16) + 1)}


def exchanged(name, config):
    """Numbers that devices exchange in a step at least, others that they may, and layers with batch normalisation.

    By the shapes of the parameters. A gradient that needs nothing of other devices is not exchanged: of half of the
    outer weights of a dense coupling, which meet masked inputs or outputs; and of the scale of a weight-normalised
    layer, which follows from the gradient of its weights (XLA sums that of some convolutions apart).
    """
    model = build_model(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0), random_batch(2, config.data.set_size, model.image_shape))
    layers = len(jax.tree.leaves(shapes.get(STATISTICS, {}))) // 2
    least, others = layers, 0  # every layer counts its elements; its moments are as many as its running averages
    for path, leaf in jax.tree.leaves_with_path(shapes):
        where = jax.tree_util.keystr(path, simple=True, separator="/")
        if where.endswith("/scale"):
            others += leaf.size if name == "bruno" else 0
            continue
        outer = leaf.ndim == 2 and where.endswith(("first/direction", "log_scale/kernel", "shift/kernel"))
        least += leaf.size // 2 if name.startswith("bruno") and outer else leaf.size
    return least, others, layers


@pytest.mark.slow
@pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")
@pytest.mark.parametrize("name", bench_scale.MODELS)
def test_the_training_step_reduces_its_gradient_and_a_few_numbers(name, monkeypatch):
    """As docs/scaling.md says."""
    monkeypatch.setattr(process, "prefers_scan", lambda set_size, backend=None: False)
    case = CASES[name]
    overrides = case.quick | {"data.sets_per_batch": 4}
    if not name.startswith("bruno"):
        overrides |= {"model.set_vae.unused_parameters": False}
    one, two = (bench_scale.counts(case.spec, overrides, number) for number in (1, 2))
    least, others, layers = exchanged(name, configuration(case.spec, overrides))
    assert one["all-reduce MB"] == one["other collectives MB"] == two["other collectives MB"] == 0
    assert 0 <= round(1e6 * two["all-reduce MB"] / 4) - least <= others + 16  # the loss and its parts
    assert two["synchronizations"] == max(1, 3 * layers)
