"""Published numbers of set VAEs, for results of the models that a config of the same name trains.

Sources: Giannone & Winther 2022, "SCHA-VAE: Hierarchical Context Aggregation for Few-Shot Generation",
arXiv:2110.12279, table 1 (sets of five) and figures, from which other set sizes are read to about 0.1 nats; Bartunov &
Vetrov 2018, "Few-shot Generative Modelling with Generative Matching Networks".
"""

from typing import Any

from ml_collections import ConfigDict

from experiments.subject import Subject

PAPER = "Giannone & Winther 2022, arXiv:2110.12279"
NOTE = {"omniglot_ns": ", Omniglot of Burda et al.", "omniglot_back_eval": "", "mnist": ""}
VARIANTS = ("vae", "ns", "cns", "cns_lag", "chfsgm", "scha", "scha_lag")

# (trained on, tested on) -> model -> set size -> bound of one draw, nats per image
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
MATCHING_PAPER = "generative matching networks, Bartunov & Vetrov 2018"


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
    return None if value is None else {"value": value, "source": PAPER + NOTE[tested]}


def published_prediction(subject: Subject, split: str, given: int) -> dict[str, Any] | None:
    """Published negative log-likelihood of the next image of a class given some, by another model, or None."""
    if subject.config.data.dataset != "omniglot_back_eval" or split != "test" or given not in MATCHING_NETWORKS:
        return None
    return {"value": MATCHING_NETWORKS[given], "source": MATCHING_PAPER}


def published_accuracy(subject: Subject, split: str, way: int, shot: int) -> dict[str, Any] | None:
    """Published accuracy of the Neural Statistician in %, or None where the model is another one."""
    assert subject.model.config is not None
    data = "omniglot" if subject.config.data.dataset.startswith("omniglot") else subject.config.data.dataset
    statistician = published_model(subject.model.config) == "ns" or "statistician" in subject.model.config.name
    if not statistician or split != "test" or (data, way, shot) not in ACCURACY:
        return None
    return {"value": ACCURACY[data, way, shot], "source": STATISTICIAN_PAPER}


def published_model(config: ConfigDict) -> str | None:
    """Which of the published models a configuration trains, by the published recipe or a fast one, if one."""
    variant = config.variant.removeprefix("fast_") or "scha_lag"
    return variant if config.name == "set_vae_omniglot" and variant in VARIANTS else None
