"""The observation model of a Matryoshka network: a likelihood, perhaps with parameters and an autoregressive head.

Its learned parameters are the top-level parameter "likelihood"; its statistics of the training images lie beside the
networks' running averages in "statistics", under the same name.
"""

from typing import Any

from ml_collections import ConfigDict

from exflow.core.likelihoods.autoregressive import autoregressive
from exflow.core.likelihoods.hidden_pixels import DrawMask, of_hidden_pixels
from exflow.core.likelihoods.learned import LearnedLikelihood, learned_likelihood
from exflow.core.likelihoods.likelihood import Likelihood
from exflow.core.observed import PixelMask, patch_mask, quadrant_mask
from exflow.errors import UserError
from exflow.nn.autoregressive_head import AutoregressiveHead
from exflow.nn.network import network
from exflow.typing import Params, PRNGKey

NAME = "likelihood"


def observation(options: ConfigDict, channels: int) -> LearnedLikelihood:
    """The law that section `model.matnet` names; of a conditional network that of hidden pixels.

    Raises:
      UserError: There is none of that name, or its pixels depend on each other and some shall be hidden.
    """
    law = learned_likelihood(options.likelihood)
    if options.conditional:
        return _of_hidden_pixels(law, options)
    if not options.head_filters:
        return law
    head = AutoregressiveHead(law.num_outputs(channels), options.head_filters)
    return autoregressive(law, network(head), options.head_filters, channels)


def _of_hidden_pixels(law: LearnedLikelihood, options: ConfigDict) -> LearnedLikelihood:
    if law.plain is None or options.head_filters:
        raise UserError(
            "config.model.matnet.conditional: needs pixels that are independent given the latents. Set "
            "model.matnet.head_filters=0 and a likelihood without parameters, such as bernoulli."
        )
    hidden = of_hidden_pixels(law.plain, masks(options)[0])
    return law._replace(name=hidden.name, law=lambda learned, statistics: hidden, plain=hidden)


def masks(options: ConfigDict) -> tuple[DrawMask, str]:
    """The masks of a configuration, and what they hide in words."""
    if options.conditional == "quadrants":
        return quadrant_mask, "a random quadrant hidden"
    number, size = options.num_patches, options.patch_size

    def draw_mask(key: PRNGKey, shape: tuple[int, ...]) -> PixelMask:
        return patch_mask(key, shape, number, size)

    return draw_mask, f"{number} random patches of {size}x{size} hidden"


def law_of(learned: LearnedLikelihood, params: Params) -> Likelihood:
    """The likelihood under the parameters of a network."""
    return learned.law(params.get(NAME, {}), params["statistics"].get(NAME, {}))


def with_law(params: Params, learned: dict[str, Any], statistics: dict[str, Any]) -> Params:
    """Parameters of a network with those of its law, where it has any."""
    own = {NAME: learned} if learned else {}
    return {**params, **own, "statistics": with_statistics(params["statistics"], statistics)}


def with_statistics(averages: Params, statistics: dict[str, Any]) -> Params:
    """Running averages of the networks beside the law's statistics of the training images, where it has any."""
    return {**averages, NAME: statistics} if statistics else dict(averages)
