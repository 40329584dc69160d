"""The observation model of a Matryoshka network: a likelihood, perhaps with parameters and an autoregressive head.

Its learned parameters are the top-level parameter "likelihood"; its statistics of the training images lie beside the
networks' running averages in "statistics", under the same name.
"""

from typing import Any

from ml_collections import ConfigDict

from exflow.core.likelihoods.autoregressive import autoregressive
from exflow.core.likelihoods.learned import LearnedLikelihood, learned_likelihood
from exflow.core.likelihoods.likelihood import Likelihood
from exflow.nn.autoregressive_head import AutoregressiveHead
from exflow.nn.network import network
from exflow.typing import Params

NAME = "likelihood"


def observation(options: ConfigDict, channels: int) -> LearnedLikelihood:
    """The law that section `model.matnet` names.

    Raises:
      UserError: There is none of that name.
    """
    law = learned_likelihood(options.likelihood)
    if not options.head_filters:
        return law
    head = AutoregressiveHead(law.num_outputs(channels), options.head_filters)
    return autoregressive(law, network(head), options.head_filters, channels)


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
