"""Few-shot evaluation from cached latents against one forward pass per episode, as the original BRUNO scripts do it.

The original encodes, for every class of an episode, its support images and another copy of the query: way * (shot + 1)
images. exflow encodes every image of the test split in every rotation once. One trial has one episode per (class,
rotation); the protocol has 20 trials of 4 settings.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8
from ml_collections import ConfigDict

from benchmarks.cases import TINY, build_model, configuration, random_batch, random_image_sets, random_params
from benchmarks.report import Result, Table, main
from benchmarks.timing import Timing, interleaved
from exflow.evaluation import encoding, placement
from exflow.evaluation.scoring.few_shot import few_shot_accuracy
from exflow.model import Model, sets_of
from exflow.models.bruno.image_flow import FlowElement
from exflow.training.devices import configure_devices
from exflow.typing import Params, PRNGKey

ROTATIONS, PER_CLASS = 4, 20
NO_FLOW = {"model.bruno.scales": 0, "model.bruno.dense_couplings": 0, "data.downscale": 1}
SCORED = {  # where only the latents' size and the process matter
    "scores, 14x14, gaussian": NO_FLOW | {"data.downscale": 2},
    "scores, 28x28, gaussian": NO_FLOW,
    "scores, 28x28, student_t": NO_FLOW | {"model.bruno.process": "student_t"},
}


class Protocol(NamedTuple):
    """How much is evaluated; the defaults are the paper's, on the test classes of Omniglot."""

    settings: tuple[tuple[int, int], ...] = ((5, 1), (5, 5), (20, 1), (20, 5))  # (way, shot)
    num_classes: int = 423
    num_trials: int = 20

    @property
    def num_episodes(self) -> int:
        """Episodes of one setting."""
        return self.num_classes * ROTATIONS * self.num_trials

    @property
    def num_latents(self) -> int:
        """Image passes when every image is encoded once in every rotation."""
        return self.num_classes * ROTATIONS * PER_CLASS


def score_by_forward_pass(model: Model) -> Callable[[Params, PRNGKey, UInt8[Array, "way images h w c"]], Array]:
    """Compiled function that scores one episode from its images, the last of every row being the query."""

    def score(params: Params, key: PRNGKey, images: Array) -> Array:
        latent = model.encode(params, key, images)
        support, query = (jax.tree.map(lambda leaf, part=part: leaf[:, part], latent) for part in (slice(-1), -1))
        states = sets_of(model).update(params, sets_of(model).init_state(params, images.shape[:1]), support)
        return sets_of(model).log_prob(params, states, query)

    return jax.jit(score)


def with_params(config: ConfigDict) -> tuple[Model, Params]:
    """The model of the configuration with random parameters on all devices."""
    model = build_model(config)
    return model, placement.replicate(random_params(model, random_batch(2, 4, model.image_shape)))


def time_scores(model: Model, params: Params, protocol: Protocol, quick: bool) -> dict[tuple[int, int], Timing]:
    """Timings of all trials of each setting from cached latents, which are random here."""
    rng, lead = np.random.default_rng(0), (protocol.num_classes, ROTATIONS, PER_CLASS)
    z = rng.normal(size=(*lead, int(np.prod(model.image_shape)))).astype(np.float32)
    elements = placement.replicate(FlowElement(z, np.zeros(lead, np.float32)))

    def call(way: int, shot: int) -> Callable[[], None]:
        return lambda: few_shot_accuracy(model, params, elements, way, shot, protocol.num_trials, seed=0)

    return interleaved({setting: call(*setting) for setting in protocol.settings}, quick)


def time_passes(
    model: Model, params: Params, batch_size: int, protocol: Protocol, quick: bool
) -> tuple[float, dict[tuple[int, int], float]]:
    """Seconds to encode all images (from the rate on some classes), and of one episode of each setting."""
    key, sample = jax.random.key(1), random_image_sets(2 if quick else 20, PER_CLASS, model.image_shape[0])
    calls: dict = {"encode": lambda: encoding.encode_split(model, params, key, sample, batch_size=batch_size)}
    score, one_device = score_by_forward_pass(model), placement.on_one_device(params)
    for way, shot in protocol.settings:
        images = jnp.asarray(random_batch(way, shot + 1, model.image_shape).x_set)
        calls[way, shot] = lambda images=images: score(one_device, key, images)
    timings = interleaved(calls, quick)
    encode_seconds = timings.pop("encode").median * protocol.num_latents / (len(sample.images) * ROTATIONS)
    return encode_seconds, {setting: timing.median for setting, timing in timings.items()}


def run(quick: bool) -> Result:
    """bruno_omniglot:cpu from cached latents and from one forward pass per episode; seconds of the whole protocol."""
    protocol = Protocol(((5, 1), (5, 5)), 8, 10) if quick else Protocol()
    config = configuration("bruno_omniglot:cpu", TINY if quick else None)
    configure_devices(config)
    model, params = with_params(config)
    encode_seconds, episode_seconds = time_passes(model, params, config.evaluation.batch_size, protocol, quick)
    scores = time_scores(model, params, protocol, quick)

    medians: Table = {}
    for way, shot in protocol.settings:
        seconds = scores[way, shot].median
        medians[f"{way}-way {shot}-shot, scores"] = {
            "cached s": seconds,
            "cached episodes/s": protocol.num_episodes / seconds,
            "per episode s": episode_seconds[way, shot] * protocol.num_episodes,
            "per episode episodes/s": 1 / episode_seconds[way, shot],
            "per episode passes": protocol.num_episodes * way * (shot + 1),
        }
    total = {column: sum(row[column] for row in medians.values()) for column in next(iter(medians.values()))}
    cached = encode_seconds + total["cached s"]
    medians["encoding"] = {"cached s": encode_seconds, "cached passes": protocol.num_latents}
    medians["whole protocol"] = {
        "cached s": cached,
        "cached passes": protocol.num_latents,
        "per episode s": total["per episode s"],
        "per episode passes": total["per episode passes"],
    }
    ratios = {
        "whole protocol": {
            "speed-up": total["per episode s"] / cached,
            "fewer passes": total["per episode passes"] / protocol.num_latents,
        }
    }
    for name, changes in SCORED.items():
        other = with_params(configuration("bruno_omniglot:cpu", changes))
        timings = time_scores(*other, protocol, quick)
        medians[name] = {"cached s": sum(timing.median for timing in timings.values())}
    settings = {**protocol._asdict(), "config": config.name, "variant": config.variant, "per_episode_devices": 1}
    return Result(settings, medians, ratios)


if __name__ == "__main__":
    main(run)
