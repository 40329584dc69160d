"""Published numbers of set VAEs, for results of the models that a config of the same name trains.

Bounds are those of the project page of Giannone & Winther 2022 (branch `page` of GitHub
georgosgeorgos/hierarchical-few-shot-generative-models): tables for sets of five, one of 2021 and one of 2022, and
curves over the set size, read to about 0.1 nats. The curves need not be of the models in the table of 2022: those of
NS, CNS and CNS-LAG on Omniglot pass at five through the table of 2021, whose CNS are 128 wide (2022 and our configs:
256), that of SCHA-VAE through 90.2 (table: 89.4). Accuracies of the Neural Statistician are as quoted in GitHub
ashysheya/neural-stat; generative matching networks: Bartunov & Vetrov, arXiv:1612.02192.
"""

from typing import Any

from ml_collections import ConfigDict

from exflow.config import load_config
from experiments.subject import Subject

PAGE = "project page of Giannone & Winther 2022"
NOTE = {"omniglot_ns": ", Omniglot of Burda et al.", "omniglot_back_eval": "", "mnist": ""}
VARIANTS = ("vae", "ns", "cns", "cns_lag", "chfsgm", "scha", "scha_lag")
NOT_THE_MODEL = ("unused_parameters", "class_rule", "sample_means")  # keys of model.set_vae

# (trained on, tested on) -> model -> set size -> bound of one draw, nats per image; where from: `_place`
NELBO = {
    ("omniglot_ns", "omniglot_ns"): {
        "vae": {5: 101.5},
        "ns": {2: 101.5, 5: 96.6, 10: 94.9, 20: 94.4},
        "cns": {2: 99.5, 5: 92.9, 10: 92.2, 20: 91.5},
        "cns_lag": {2: 98.9, 5: 92.8, 10: 91.7, 20: 91.1},
        "chfsgm": {5: 92.6, 10: 91.2, 20: 90.5},
        "scha": {2: 96.3, 5: 89.4, 10: 88.4, 20: 87.4},
        "scha_lag": {2: 94.8, 5: 88.4, 10: 86.7, 20: 86.0},
    },
    ("omniglot_back_eval", "omniglot_back_eval"): {
        "vae": {5: 101.4},
        "ns": {5: 91.9},
        "cns": {5: 83.4},
        "cns_lag": {5: 83.8},
        "scha": {5: 79.4},
        "scha_lag": {5: 77.9},
    },
    ("omniglot_ns", "mnist"): {
        "vae": {5: 124.7},
        "ns": {5: 120.3},
        "cns": {2: 122.0, 5: 118.2, 10: 116.5, 20: 115.8},
        "cns_lag": {5: 117.6, 10: 115.9, 20: 115.2},
        "scha": {2: 122.8, 5: 115.3, 10: 113.3, 20: 111.8},
        "scha_lag": {2: 122.4, 5: 114.9, 10: 112.7},
    },
}
# The same for sets of five and bounds of 1,000 draws
NLL = {
    "omniglot_ns": {"vae": 95.9, "ns": 92.4, "cns": 89.7, "cns_lag": 89.7, "scha": 85.8, "scha_lag": 85.4},
    "omniglot_back_eval": {"vae": 88.4, "ns": 85.6, "cns": 77.5, "cns_lag": 77.6, "scha": 72.7, "scha_lag": 71.5},
}
NLL_DRAWS = 1000
# Neural Statistician, accuracy in % by the divergence between posteriors: (data set, way, shot)
ACCURACY = {
    ("mnist", 10, 1): 78.6,
    ("mnist", 10, 5): 93.2,
    ("omniglot", 5, 1): 98.1,
    ("omniglot", 5, 5): 99.5,
    ("omniglot", 20, 1): 93.2,
    ("omniglot", 20, 5): 98.1,
}
STATISTICIAN_PAPER = "Neural Statistician, Edwards & Storkey 2017, arXiv:1606.02185"
# Generative matching networks on Omniglot: images given -> nats of the next one, bounds of 1,000 draws
MATCHING_NETWORKS = {0: 90.9, 1: 82.8, 2: 78.8, 3: 76.4, 4: 74.2, 9: 64.6}
MATCHING_PAPER = "generative matching networks, Bartunov & Vetrov, arXiv:1612.02192"


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
    value, pair = None, (trained.data.dataset, tested)
    if draws == 1:
        value = NELBO.get(pair, {}).get(model, {}).get(size)
    elif draws == NLL_DRAWS and size == 5 and pair[0] == tested:
        value = NLL.get(tested, {}).get(model)
    return None if value is None else {"value": value, "source": f"{PAGE}, {_place(model, size)}{NOTE[tested]}"}


def _place(model: str, size: int) -> str:
    """Where on the page a bound is, and of which model if not of that of the config."""
    if size == 5:
        return "table of 2021" if model == "chfsgm" else "table of 2022"
    return "read off a curve" + (" of a model 128 wide" if model.startswith("cns") else "")


def published_prediction(subject: Subject, split: str, given: int, draws: int) -> dict[str, Any] | None:
    """Published bound of so many draws on the next image of a class given some, of another model, or None."""
    same_data = subject.config.data.dataset == "omniglot_back_eval" and split == "test"
    if not same_data or draws != NLL_DRAWS or given not in MATCHING_NETWORKS:
        return None
    return {"value": MATCHING_NETWORKS[given], "source": MATCHING_PAPER}


def published_accuracy(subject: Subject, split: str, way: int, shot: int) -> dict[str, Any] | None:
    """Published accuracy of the Neural Statistician in %, or None where the model is another one."""
    config = subject.model.config
    assert config is not None
    data = "omniglot" if subject.config.data.dataset.startswith("omniglot") else subject.config.data.dataset
    own = config.name == "neural_statistician_omniglot" and _same_model(config, config.name)
    if not (own or published_model(config) == "ns") or split != "test" or (data, way, shot) not in ACCURACY:
        return None
    return {"value": ACCURACY[data, way, shot], "source": STATISTICIAN_PAPER}


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
