"""Small instances of every model family: a new family gets the shared tests of `test_set_models.py` by one line."""

import jax
import pytest

from exflow.config import base_config

IMAGE_SHAPE = (8, 8, 1)
TINY_BRUNO = {
    "model.bruno.filters": 4,
    "model.bruno.residual_blocks": 0,
    "model.bruno.dense_units": 8,
    "model.bruno.dense_couplings": 2,
}


def small_config(**overrides):
    """Return the base configuration with a tiny network and dotted overrides."""
    config = base_config(overrides.pop("model__family", "bruno"))
    tiny = TINY_BRUNO if config.model.family == "bruno" else {}
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    config.update_from_flattened_dict({"data.sets_per_batch": 4, "data.set_size": 5, **tiny, **given})
    return config


TINY_VECTORS = {
    "model__family": "set_vae",
    "model__set_vae__hierarchy": "vector",
    "model__set_vae__likelihood": "gaussian",
    "model__set_vae__hidden": 8,
    "model__set_vae__latent_dim": 2,
    "model__set_vae__set_latent_dim": 3,
    "model__set_vae__num_levels": 2,
    "model__set_vae__block_depth": 1,  # compiles in half of the time
    "model__set_vae__class_rule": "elbo",
}
TINY_IMAGES = TINY_VECTORS | {
    "model__set_vae__likelihood": "bernoulli",
    "model__set_vae__encoder_filters": 2,
}
TINY_MAPS = TINY_IMAGES | {"model__set_vae__hierarchy": "map"}
TINY_STREAM = TINY_IMAGES | {
    "model__set_vae__hierarchy": "stream",
    "model__set_vae__encoder_blocks": "8-1,4-1,1-1",
    "model__set_vae__levels": "4-1,1-1",
    "model__set_vae__decoder_blocks": "32-1,8-1",
}
TINY_MATNET = {
    "model__family": "matnet",
    "model__matnet__levels": "6-1",
    "model__matnet__top_latent_dim": 2,
    "model__matnet__latent_dim": 2,
    "model__matnet__top_hidden": 4,
    "model__matnet__shortcut_encoder": (),
}
ALL_LEVELS = {"model__set_vae__set_latent_levels": "all"}
ATTENTION = {"model__set_vae__aggregation": "attention", "model__set_vae__prior_aggregation": "attention"}


MODELS = {
    "bruno_gaussian": small_config(model__bruno__scales=0),
    "bruno_student_t": small_config(
        model__bruno__scales=0, model__bruno__process="student_t", model__bruno__degrees_of_freedom=7.0
    ),
    "bruno_mixture": small_config(
        model__bruno__scales=0, model__bruno__process="mixture", model__bruno__degrees_of_freedom=7.0
    ),
    "bruno_low_rank": small_config(
        model__bruno__scales=0, model__bruno__process="low_rank", model__bruno__process_rank=2
    ),
    "bruno_spline": small_config(model__bruno__scales=0, model__bruno__coupling="spline", model__bruno__spline_bins=3),
    "bruno_conditional": small_config(model__bruno__scales=0, model__bruno__conditioning="original"),
    "matnet": small_config(**TINY_MATNET),
    "vae": small_config(**TINY_VECTORS, model__set_vae__set_latent_levels="none"),
    "ns": small_config(**TINY_VECTORS),
    "ns_lag": small_config(**TINY_VECTORS, **ATTENTION),
    "hfsgm": small_config(**(TINY_VECTORS | {"model__set_vae__block_depth": 2}), **ALL_LEVELS),
    "hfsgm_lag": small_config(**TINY_VECTORS, **ALL_LEVELS, **ATTENTION, model__set_vae__film=True),
    "ns_images": small_config(**TINY_IMAGES),
    "cns": small_config(**TINY_MAPS),
    "cns_lag": small_config(**TINY_MAPS, **ATTENTION),
    "chfsgm": small_config(**TINY_MAPS, **ALL_LEVELS),
    "chfsgm_lag": small_config(**TINY_MAPS, **ALL_LEVELS, **ATTENTION),
    "scha_vae": small_config(**TINY_STREAM),
    "scha_vae_lag": small_config(
        **TINY_STREAM,
        **ATTENTION,
        model__set_vae__examples_to_set_latents=True,
        model__set_vae__residual_posteriors=True,
        model__set_vae__decoder_set_stream="map",
    ),
}
# Long compilations, which the models tested by default cover in other combinations
SLOW = (
    *("bruno_student_t", "bruno_mixture", "bruno_low_rank", "bruno_spline"),
    *("matnet", "vae", "ns", "ns_lag", "hfsgm", "hfsgm_lag", "ns_images"),
    *("cns", "cns_lag", "chfsgm", "chfsgm_lag", "scha_vae", "scha_vae_lag"),
)
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in MODELS]


def compiled(model):
    """The same model with its functions compiled."""
    names = ("update", "log_prob", "joint", "conditional", "leave_one_out", "class_log_probs")
    sets = {name: jax.jit(getattr(model.sets, name)) for name in names}
    sets["sample"] = jax.jit(model.sets.sample, static_argnums=(3, 4))
    return model._replace(loss=jax.jit(model.loss), encode=jax.jit(model.encode), sets=model.sets._replace(**sets))


def is_set_vae(name):
    """Whether the model is of the family of set VAEs."""
    return MODELS[name].model.family == "set_vae"


EXACT = [name for key, name in zip(MODELS, NAMES, strict=True) if MODELS[key].model.family == "bruno"]


def image_shape(name):
    """Shape of the images, or (1, 1, D) of the vectors, of a model."""
    if not is_set_vae(name):
        return IMAGE_SHAPE
    return (1, 1, 2) if MODELS[name].model.set_vae.likelihood == "gaussian" else (28, 28, 1)
