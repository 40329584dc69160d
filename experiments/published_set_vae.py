"""Published numbers of set VAEs, for results of the models that a config of the same name trains.

The numbers are those of `exflow/evaluation/published/set_vae.json`, which says where they are from.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from exflow.config import load_config
from exflow.evaluation import published
from experiments.subject import Subject

PAGE = "project page of Giannone & Winther 2022"
NOTE = {"omniglot_ns": ", Omniglot of Burda et al.", "omniglot_back_eval": "", "mnist": ""}
VARIANTS = ("vae", "ns", "cns", "cns_lag", "chfsgm", "scha", "scha_lag")
NOT_THE_MODEL = ("unused_parameters", "class_rule", "sample_means")  # keys of model.set_vae

NLL_DRAWS = 1000  # of the published bounds of many draws, which are for sets of five
STATISTICIAN_PAPER = "Neural Statistician, Edwards & Storkey 2017, arXiv:1606.02185"
MATCHING_PAPER = "generative matching networks, Bartunov & Vetrov, arXiv:1612.02192"


def bounds(model: str | None, trained: str, tested: str) -> Mapping[str, float]:
    """Published bounds of a model by set size: `nelbo/<size>` of one draw, `nll/5` of `NLL_DRAWS` draws."""
    return published.numbers("set_vae", f"{model} {trained} {tested}")


def published_bound(subject: Subject, split: str, size: int, draws: int = 1) -> dict[str, Any] | None:
    """Published bound of the model on this data set, in nats per image, or None.

    Args:
      subject: Model and data set.
      split: "train", "validation" or "test".
      size: Of the sets.
      draws: Of the latents in the bound.
    """
    assert subject.model.config is not None
    trained, tested = subject.model.config, subject.config.data.dataset
    model = published_model(trained)
    if split != "test" or model is None:
        return None
    entry = {1: "nelbo", NLL_DRAWS: "nll"}.get(draws, "")
    value = bounds(model, trained.data.dataset, tested).get(f"{entry}/{size}")
    return None if value is None else {"value": value, "source": f"{PAGE}, {_place(model, size)}{NOTE[tested]}"}


def _place(model: str, size: int) -> str:
    """Where on the page a bound is, and of which model if not of that of the config."""
    if size == 5:
        return "table of 2021" if model == "chfsgm" else "table of 2022"
    return "read off a curve" + (" of a model 128 wide" if model.startswith("cns") else "")


def published_prediction(subject: Subject, split: str, given: int, draws: int) -> dict[str, Any] | None:
    """Published bound of so many draws on the next image of a class given some, of another model, or None."""
    same_data = subject.config.data.dataset == "omniglot_back_eval" and split == "test"
    value = published.numbers("set_vae", "matching networks omniglot").get(f"prediction/{given}")
    if not same_data or draws != NLL_DRAWS or value is None:
        return None
    return {"value": value, "source": MATCHING_PAPER}


def published_accuracy(subject: Subject, split: str, way: int, shot: int) -> dict[str, Any] | None:
    """Published accuracy of the Neural Statistician in %, or None where the model is another one."""
    config = subject.model.config
    assert config is not None
    data = "omniglot" if subject.config.data.dataset.startswith("omniglot") else subject.config.data.dataset
    own = config.name == "neural_statistician_omniglot" and _same_model(config, config.name)
    value = published.numbers("set_vae", f"statistician {data}").get(f"few_shot/{way}way_{shot}shot")
    if not (own or published_model(config) == "ns") or split != "test" or value is None:
        return None
    return {"value": value, "source": STATISTICIAN_PAPER}


def published_model(config: ConfigDict) -> str | None:
    """Which of the published models a configuration trains, by the published recipe or a fast one, if one."""
    variant = config.variant.removeprefix("fast_") or "scha_lag"
    if config.name != "set_vae_omniglot" or variant not in VARIANTS:
        return None
    return variant if _same_model(config, f"{config.name}:{variant}") else None


def _same_model(config: ConfigDict, name: str) -> bool:
    """Whether a configuration has the model of the config `name`, however it is computed and asked."""
    if config.model.family != "set_vae":
        return False
    own, given = load_config(name).model.set_vae, config.model.set_vae
    return all(own[key] == given[key] for key in own if key not in NOT_THE_MODEL)
