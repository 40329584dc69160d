"""Which published models are measured against their references, with how many sets; sizes are the published ones."""

from typing import Any, NamedTuple

from benchmarks.cases import TINY


class Case(NamedTuple):
    """A model and its batch."""

    spec: str
    overrides: dict[str, Any]
    quick: dict[str, Any]  # overrides of tiny sizes


TINY_SET_VAE = {
    "model.set_vae.hidden": 8,
    "model.set_vae.latent_dim": 4,
    "model.set_vae.set_latent_dim": 4,
    "model.set_vae.encoder_filters": 2,
    "data.sets_per_batch": 2,
    "data.set_size": 3,
}
TINY_STREAM = TINY_SET_VAE | {
    "model.set_vae.encoder_blocks": "32-1,8-2,1-1",
    "model.set_vae.levels": "8-2,1-1",
    "model.set_vae.decoder_blocks": "32-1,8-2",
}
NO_SLEEP = {"objective.sleep_start_step": 0}
TINY_MATNET = {
    "model.matnet.top_latent_dim": 3,
    "model.matnet.latent_dim": 2,
    "model.matnet.top_hidden": 5,
    "data.sets_per_batch": 4,
}
TINY_DENSE_MATNET = TINY_MATNET | {"model.matnet.levels": "6-2", "model.matnet.shortcut_encoder": (5, 4)}
TINY_CONVOLUTIONAL_MATNET = TINY_MATNET | {"model.matnet.levels": "7-4-1,14-4-2,28-3-0"}
TINY_LBAE = {
    "data.image_size": 16,
    "data.sets_per_batch": 4,
    "model.lbae.latent_dim": 6,
    "model.lbae.encoder_channels": (4, 5, 6),
    "model.lbae.decoder_channels": (6, 5, 4),
}


def _few_sets(number: int) -> dict[str, Any]:
    return {"data.sets_per_batch": number}


CASES = {
    "bruno_dense": Case("bruno_mnist_dense", {}, {"data.image_size": 8} | TINY | {"model.bruno.scales": 0}),
    "bruno": Case("bruno_omniglot", _few_sets(4), {"data.image_size": 8} | TINY),
    "ns": Case("set_vae_omniglot:ns", {}, TINY_SET_VAE),
    "cns": Case("set_vae_omniglot:cns", _few_sets(20), TINY_SET_VAE),
    "chfsgm_lag": Case("set_vae_omniglot:chfsgm_lag", _few_sets(20), TINY_SET_VAE),
    "scha": Case("set_vae_omniglot:scha", _few_sets(4), TINY_STREAM),
    "matnet_fc": Case("matnet_mnist_fc", NO_SLEEP | {"training.num_devices": 1}, TINY_DENSE_MATNET),
    "matnet_conv": Case("matnet_mnist_conv", NO_SLEEP, TINY_CONVOLUTIONAL_MATNET),
    "lbae": Case("lbae_mnist", _few_sets(64), TINY_LBAE),
    "lbae_512": Case("lbae_mnist", {}, TINY_LBAE),
    "lbae_cifar10": Case("lbae_cifar10", _few_sets(64), TINY_LBAE),
    "lbae_cpu": Case("lbae_mnist:cpu", {}, TINY_LBAE),
}


def overrides_of(case: Case, quick: bool) -> dict[str, Any]:
    """Changes of the configuration."""
    return case.overrides | (case.quick if quick else {})
