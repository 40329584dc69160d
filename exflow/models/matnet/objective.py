"""What Matryoshka networks are trained on: a bound, perhaps annealed, and a phase on the generator's own samples.

The divergences of a batch may count little at first, see `exflow.core.latents.annealing`, and as published the squares
of those of single entries take their place meanwhile. From a step on a second phase, like the sleep of Helmholtz
machines, moves the inference network alone on images that the generator has drawn.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key
from ml_collections import ConfigDict

from exflow.core.latents import bounds, gaussian_mixture
from exflow.core.latents.annealing import annealed_loss, rising_weight
from exflow.core.latents.doubly_reparametrized import doubly_reparametrized_bound
from exflow.core.latents.gaussian_mixture import GaussianMixture
from exflow.core.latents.terms import Terms, elbo, element_log_weights, terms
from exflow.core.latents.trace import Noise, TopDown
from exflow.core.likelihoods.learned import LearnedLikelihood
from exflow.core.quantization import bits_per_dim
from exflow.model import Phase
from exflow.models.matnet.latents import as_trace, draw_flat, variables
from exflow.models.matnet.networks.layers import Mode
from exflow.models.matnet.networks.matnet import MatNet
from exflow.models.matnet.observation import NAME, law_of, with_statistics
from exflow.typing import Batch, Loss, Params, PRNGKey

GENERATOR, INFERENCE = "generator", "inference"  # optimiser groups, and top-level parameters
Values = Float[Array, "batch set height width channels"]
Mask = Bool[Array, "batch set"]


class Objective(NamedTuple):
    """Section `objective` of the configuration, applied to a network."""

    network: MatNet
    learned: LearnedLikelihood
    options: ConfigDict
    image_shape: tuple[int, int, int]

    def loss(self, params: Params, key: PRNGKey, batch: Batch) -> Loss:
        """The bound of a batch, which is repeated with fresh pixels and latents.

        Its metrics are `nelbo` and its parts `reconstruction` and `kl_z`, nats per image, and of pixels `bits_per_dim`.
        """
        value_key, key = jax.random.split(key)
        x_set, mask = (jnp.repeat(a, self.options.repeats, axis=0) for a in (batch.x_set, batch.mask))
        values: Array = law_of(self.learned, params).to_values(value_key, x_set)
        values = jnp.where(mask[..., None, None, None], values, 0.0)  # what is missing may be NaN, also in gradients
        return self.of_values(params, key, values, mask, batch.step)

    def sleep(self, params: Params, key: PRNGKey, batch: Batch) -> Loss:
        """The same of as many images drawn by the generator, as it draws after training; averages stay as they are."""
        draw_key, pixel_key, key = jax.random.split(key, 3)
        mask = jnp.ones(batch.mask.shape, bool)
        found: Any = self.network.apply(
            variables(jax.lax.stop_gradient(params)),
            draw_flat(Noise(draw_key), mask.shape),
            None,
            mask.size,
            (),
            None,
            Mode(),
            method=MatNet.top_down,
        )
        values = law_of(self.learned, params).sample(pixel_key, as_trace(found[0], found[1], mask.shape)[1])
        return self.of_values(params, key, values, mask, batch.step)._replace(statistics=None)

    def of_values(self, params: Params, key: PRNGKey, values: Values, mask: Mask, step: Array | None) -> Loss:
        """The loss of pixels as the likelihood scores them."""
        options = self.options
        if options.bound != "elbo":
            return self._importance_weighted(params, jax.random.split(key, options.draws), values, mask)
        trace, log_probs, statistics = self.drawn(params, key, values, mask)
        weight = rising_weight(options.annealing_start, options.annealing_steps, 0 if step is None else step)
        squares = options.annealing == "squares"
        value, per_image = annealed_loss(trace, log_probs, mask, weight, squares, options.free_bits)
        return Loss(value + self._of_mixture(trace, mask), self._metrics(per_image), statistics)

    def drawn(
        self, params: Params, key: PRNGKey, values: Values, mask: Mask, given: tuple[Array, ...] = ()
    ) -> tuple[TopDown, Float[Array, "batch set"], Params]:
        """Latents drawn from the posteriors, or given, log p(x | latents), and running averages."""
        latent_key, noise_key = jax.random.split(key)
        found, updated = self.network.apply(
            variables(params),
            values.reshape(-1, *values.shape[2:]),
            draw_flat(Noise(latent_key), mask.shape),
            Mode(True, mask.reshape(-1)),
            tuple(latent.reshape(-1, *latent.shape[2:]) for latent in given),
            rngs={"noise": noise_key},
            mutable=["batch_stats"],
        )
        trace, outputs = as_trace(found[0], found[1], mask.shape)
        averages, statistics = dict(updated).get("batch_stats", {}), params["statistics"].get(NAME, {})
        log_probs = law_of(self.learned, params).log_prob(outputs, values)
        return trace, log_probs, with_statistics(averages, statistics)

    def _of_mixture(self, trace: TopDown, mask: Mask) -> Array | float:
        """What a mixture adds to the loss per image: its surrogate in place of the estimate, and entropies."""
        options, top = self.options, trace.levels[0].example_latent
        if not isinstance(top.p, GaussianMixture):
            return 0.0
        assert top.q is not None
        more = options.entropy_weight * gaussian_mixture.posterior_entropy(top.p, top.value)
        if options.mixture_divergence == "surrogate":
            estimate = gaussian_mixture.kl_estimate(top.q, top.p, top.value)
            more = more + gaussian_mixture.kl_surrogate(top.q, top.p) - estimate
        return jnp.where(mask, more, 0.0).sum() / mask.sum()

    def _importance_weighted(self, params: Params, keys: Key[Array, " draws"], values: Values, mask: Mask) -> Loss:
        """The importance-weighted bound; metrics and running averages are those of the first draw."""

        def draw(params: Params, key: PRNGKey) -> tuple[tuple[Array, ...], PRNGKey]:
            levels = self.drawn(params, key, values, mask)[0].levels
            return tuple(level.example_latent.value for level in levels), key

        def log_weight(params: Params, drawn: tuple[tuple[Array, ...], PRNGKey]) -> Float[Array, "batch set"]:
            given, key = drawn
            return element_log_weights(*self.drawn(params, key, values, mask, given)[:2], mask)

        def one(key: PRNGKey) -> tuple[Float[Array, "batch set"], Terms, Params]:
            trace, log_probs, statistics = self.drawn(params, key, values, mask)
            sums = Terms(*(part.sum(axis=-1, keepdims=True) / mask.sum() for part in terms(trace, log_probs, mask)))
            return element_log_weights(trace, log_probs, mask), sums, statistics

        if self.options.bound == "dreg":
            bound = doubly_reparametrized_bound(draw, log_weight, params, keys, lambda name: name == INFERENCE)
            _, sums, statistics = one(keys[0])
        else:
            log_weights, *more = jax.vmap(one)(keys)
            sums, statistics = jax.tree.map(lambda leaf: leaf[0], more)
            bound = bounds.iwae_bound(log_weights)
        return Loss(-bound.sum() / mask.sum(), self._metrics(sums), statistics)

    def _metrics(self, per_image: Terms) -> dict[str, Array]:
        nelbo: Array = -elbo(per_image)[0]
        bits = bits_per_dim(nelbo, math.prod(self.image_shape))
        return {
            "nelbo": nelbo,
            **({} if self.network.plan.conditional else {"bits_per_dim": jnp.asarray(bits)}),  # of whole images
            "reconstruction": -per_image.log_prob[0],
            "kl_z": per_image.kl_examples.sum(),
        }


def phases(objective: Objective) -> tuple[Phase, ...]:
    """The phases of a step: both networks on the batch, then perhaps the inference network on samples."""
    wake = Phase("wake", objective.loss, (GENERATOR, INFERENCE))
    start = objective.options.sleep_start_step
    return (wake, Phase("sleep", objective.sleep, (INFERENCE,), start)) if start else (wake,)
