"""Set VAEs, all published variants at their size for CPUs: training, the bound of 1,000 samples, and compilation.

Every variant gets sixteen sets of five random images to train on and one such set to evaluate. What is compiled is
SCHA-VAE with the published 54 blocks and 18 levels at a quarter of the width.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks.bench_compile import scan_and_unroll
from benchmarks.bench_train_step import ExflowStep
from benchmarks.cases import build_model, configuration, random_batch, random_params
from benchmarks.report import Result, Table, main
from benchmarks.timing import Timing, interleaved, ratio
from exflow.core.latents import bounds
from exflow.model import Model
from exflow.models.latent_bounds import log_weights
from exflow.training.devices import configure_devices
from exflow.typing import Params

CONFIG = "set_vae_omniglot"
VARIANTS = (
    *("vae", "ns", "ns_lag", "hfsgm", "hfsgm_lag"),
    *("cns", "cns_lag", "chfsgm", "chfsgm_lag", "scha", "scha_lag"),
)
SETS = {"data.sets_per_batch": 16, "data.set_size": 5}
QUICK_VARIANTS = ("vae", "scha")
QUICK_SETS = {"data.sets_per_batch": 2, "data.set_size": 2}
NUM_SAMPLES, CHUNK = 1_000, 100  # draws of the latents of one set, and those of one call
QUICK_SAMPLES, QUICK_CHUNK = 4, 2
COMPILED = {"model.set_vae.hidden": 32}
QUICK_COMPILED = {
    "model.set_vae.hidden": 8,
    "model.set_vae.encoder_blocks": "32-1,1-2",
    "model.set_vae.levels": "1-2",
    "model.set_vae.decoder_blocks": "1-1",
}


def importance_bound(model: Model, params: Params, set_size: int, num_samples: int, chunk: int) -> Callable:
    """Function that gives the bound of one set, with the memory of `chunk` samples."""
    images = random_batch(1, set_size, model.image_shape).x_set
    key, mask = jax.random.key(0), jnp.ones((1, set_size), bool)
    element_set = jax.jit(model.encode)(params, key, images)

    @jax.jit
    def update(state: bounds.ImportanceState, params: Params, number: Array) -> bounds.ImportanceState:
        keys = jax.random.split(jax.random.fold_in(key, number), chunk)
        return bounds.update(state, log_weights(model.latents, params, keys, element_set, mask))

    def bound() -> Array:
        state = bounds.init((1,))
        for number in range(num_samples // chunk):
            state = update(state, params, np.int32(number))
        return bounds.finalize(state).bound

    return bound


def time_variants(names: tuple[str, ...], quick: bool) -> tuple[dict[str, Timing], dict[str, Timing], int]:
    """Timings of a training step and of the bound of one set, by variant, and the number of devices of the first."""
    sets = QUICK_SETS if quick else SETS
    num_samples, chunk = (QUICK_SAMPLES, QUICK_CHUNK) if quick else (NUM_SAMPLES, CHUNK)
    trained, bounded, devices = {}, {}, 0
    for name in names:
        config = configuration(f"{CONFIG}:{'smoke' if quick else 'cpu'}_{name}", sets)
        mesh, model = configure_devices(config), build_model(config)
        devices = mesh.size
        batch = random_batch(config.data.sets_per_batch, config.data.set_size, model.image_shape)
        params = random_params(model, batch)
        params["statistics"] = jax.tree.map(np.ones_like, params["statistics"])  # variances are positive
        trained[name] = ExflowStep(config, params, batch, mesh)
        params = jax.device_put(params, jax.local_devices()[0])
        bounded[name] = importance_bound(model, params, config.data.set_size, num_samples, chunk)
    return interleaved(trained, quick), interleaved(bounded, quick), devices


def run(quick: bool) -> Result:
    """Images per second in training and of the bound with 1,000 samples (100 a call), seconds to compile SCHA-VAE."""
    names, sets = (QUICK_VARIANTS, QUICK_SETS) if quick else (VARIANTS, SETS)
    trained, bounded, devices = time_variants(names, quick)
    images = sets["data.sets_per_batch"] * sets["data.set_size"]
    medians: Table = {}
    ratios: Table = {}
    for name in names:
        medians[name] = {
            "training images/s": images / trained[name].median,
            "bound images/s": sets["data.set_size"] / bounded[name].median,
        }
        ratios[name] = {
            "training time / VAE": ratio(trained[name], trained["vae"]),
            "bound time / VAE": ratio(bounded[name], bounded["vae"]),
        }
    compiled = QUICK_COMPILED if quick else COMPILED
    loops, slower = scan_and_unroll(f"{CONFIG}:scha", sets | compiled, "model.block_loop", quick)
    medians |= {f"compiling scha, {loop}": row for loop, row in loops.items()}
    ratios["compiling scha, unroll"] = {"unroll / scan": slower}
    num_samples, chunk = (QUICK_SAMPLES, QUICK_CHUNK) if quick else (NUM_SAMPLES, CHUNK)
    settings = {
        "config": CONFIG,
        "overrides": sets,
        "num_samples": num_samples,
        "chunk": chunk,
        "compiled": compiled,
        "num_devices": devices,
    }
    return Result(settings, medians, ratios)


if __name__ == "__main__":
    main(run)
