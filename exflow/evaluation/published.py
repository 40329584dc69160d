"""Published numbers of BRUNO, attached to a result only where data set and protocol are the paper's.

Source: Korshunova et al. 2018, "BRUNO: A Deep Recurrent Model for Exchangeable Data", arXiv:1802.07535, and the tables
in the README of its code, github.com/IraKorshunova/bruno.
"""

from typing import Any

from ml_collections import ConfigDict

PAPER = "Korshunova et al. 2018, arXiv:1802.07535"

# (data set, stack, process) -> test, test prior, train, train prior: nats per image, sets of 20
NLL = {
    ("cifar10", "conv", "student_t"): (7773.217, 7793.673, 7298.111, 7295.626),
    ("cifar10", "conv", "gaussian"): (7781.070, 7800.581, 7340.239, 7338.131),
    ("fashion_mnist", "conv", "student_t"): (1661.208, 1671.190, 1417.329, 1418.707),
    ("fashion_mnist", "conv", "gaussian"): (1635.426, 1642.390, 1436.831, 1439.928),
    ("omniglot", "conv", "student_t"): (537.097, 546.987, 438.032, 447.527),
    ("omniglot", "conv", "gaussian"): (537.043, 544.449, 434.759, 443.724),
    ("mnist_even_odd", "conv", "student_t"): (567.653, 570.687, 621.790, 626.456),
    ("mnist_even_odd", "conv", "gaussian"): (567.321, 569.963, 627.947, 632.165),
    ("mnist_even_odd", "dense", "student_t"): (932.178, 928.966, 916.042, 914.340),
    ("mnist_even_odd", "dense", "gaussian"): (1014.797, 1019.180, 914.720, 918.399),
    ("mnist", "dense", "student_t"): (836.276, 838.364, 804.832, 807.448),
    ("mnist", "dense", "gaussian"): (848.537, 852.761, 807.956, 811.818),
}
BITS = {
    ("cifar10", "conv", "student_t"): (3.651, 3.660, 3.427, 3.426),
    ("cifar10", "conv", "gaussian"): (3.654, 3.663, 3.447, 3.446),
    ("fashion_mnist", "conv", "student_t"): (3.057, 3.075, 2.608, 2.611),
    ("fashion_mnist", "conv", "gaussian"): (3.009, 3.022, 2.644, 2.650),
    ("omniglot", "conv", "student_t"): (0.988, 1.007, 0.806, 0.824),
    ("omniglot", "conv", "gaussian"): (0.988, 1.002, 0.800, 0.817),
    ("mnist_even_odd", "conv", "student_t"): (1.045, 1.050, 1.144, 1.153),
    ("mnist_even_odd", "conv", "gaussian"): (1.044, 1.049, 1.156, 1.163),
    ("mnist_even_odd", "dense", "student_t"): (1.715, 1.709, 1.686, 1.683),
    ("mnist_even_odd", "dense", "gaussian"): (1.867, 1.875, 1.683, 1.690),
    ("mnist", "dense", "student_t"): (1.539, 1.543, 1.481, 1.486),
    ("mnist", "dense", "gaussian"): (1.561, 1.569, 1.487, 1.494),
}
NLL_COLUMNS = {"test": 0, "test_prior": 1, "train": 2, "train_prior": 3}
NATIVE_SIZE = {"cifar10": 32}  # pixels; 28 for the others
NLL_SET_SIZE = 20

# (way, shot) -> accuracy in %, means of two Student-t models, 20 trials
FEW_SHOT = {(5, 1): 86.3, (5, 5): 95.6, (20, 1): 69.2, (20, 5): 87.7}
FEW_SHOT_FINE_TUNED = {(5, 1): 97.1, (5, 5): 99.4, (20, 1): 91.3, (20, 5): 97.8}


def published_nll(config: ConfigDict, split: str, prior: bool, bits: bool = False) -> dict[str, Any] | None:
    """Published negative log-likelihood of BRUNO for this data set and process, or None.

    Args:
      config: Complete configuration.
      split: "train", "validation" or "test".
      prior: Whether the likelihood is that of single images given nothing.
      bits: Bits per dimension in place of nats per image.

    Returns:
      `{"value", "source"}`; None unless images have the paper's size and preprocessing and sets hold 20 images.
    """
    data, model = config.data, config.model
    size = NATIVE_SIZE.get(data.dataset, 28)
    same_data = data.image_size == size and data.downscale == 1 and data.resize == "bilinear"
    if model.family != "bruno":
        return None
    key = (data.dataset, "conv" if model.bruno.scales else "dense", model.bruno.process)
    column = NLL_COLUMNS.get(f"{split}_prior" if prior else split)
    if key not in NLL or column is None or not same_data or config.evaluation.nll_set_size != NLL_SET_SIZE:
        return None
    return {"value": (BITS if bits else NLL)[key][column], "source": PAPER}


def published_accuracy(config: ConfigDict, split: str, way: int, shot: int) -> dict[str, Any] | None:
    """Published few-shot accuracy of BRUNO on Omniglot in %, or None.

    The fine-tuned row belongs to models trained with a discriminative term. The paper's images are 28x28; where the
    model sees another size the source says so.

    Args:
      config: Complete configuration.
      split: "train", "validation" or "test".
      way: Classes per episode.
      shot: Support images per class.

    Returns:
      `{"value", "source"}`; None unless these are the test classes of the Vinyals split.
    """
    data = config.data
    vinyals = data.dataset == "omniglot" and data.split.startswith("vinyals") and split == "test"
    if config.model.family != "bruno" or not vinyals or (way, shot) not in FEW_SHOT:
        return None
    discriminative = config.objective.discriminative_weight > 0
    value = (FEW_SHOT_FINE_TUNED if discriminative else FEW_SHOT)[way, shot]
    source = PAPER + (", discriminative fine-tuning" if discriminative else "")
    same_size = data.image_size == 28 and data.downscale == 1
    return {"value": value, "source": source if same_size else f"{source}, on 28x28 images"}
