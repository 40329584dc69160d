"""Keys of latent Bernoulli autoencoders; the defaults are the published model of MNIST, padded to 32x32."""

from ml_collections import ConfigDict

from exflow.config.checks import AT_LEAST_ONE, PROBABILITY, expected
from exflow.config.families import Family

MODEL = {
    # bits (signs) | rounded (tanh, rounded) | gaussian (a variational autoencoder) | continuous (a regularised one)
    "latent": "bits",
    "latent_dim": 200,  # number of bits or other latents
    "encoder_channels": (64, 128, 256),  # of convolutions that halve height and width; the first of the stem, too
    "decoder_channels": (128, 64, 64),  # of transposed convolutions that double them
    "decoder_input_channels": 1,  # of the smallest maps of the decoder; 1, as published, is 16 numbers for all bits
    "gradient": "tanh",  # of bits: tanh (published) | clip (hard tanh) | stochastic (tanh of bits that are drawn)
    "flip_probability": 0.0,  # of every bit in training
    "decimals": 0,  # of rounded latents
}
OBJECTIVE = {
    "distortion": "cross_entropy",  # of decoded images: cross_entropy (of grey pixels, nats) | squared_error
    "kl_weight": 0.0,  # of gaussian latents: of the mean divergence of a latent, that is KL / latent_dim
    "code_weight": 0.0,  # of |z|^2 / 2
}
CHOICES = {
    "model.compute_dtype": ("float32", "bfloat16"),
    "model.lbae.latent": ("bits", "rounded", "gaussian", "continuous"),
    "model.lbae.gradient": ("tanh", "clip", "stochastic"),
    "objective.distortion": ("cross_entropy", "squared_error"),
}
INTERVALS = {
    "model.lbae.latent_dim": AT_LEAST_ONE,
    "model.lbae.decoder_input_channels": AT_LEAST_ONE,
    "model.lbae.flip_probability": PROBABILITY,
}


def check(config: ConfigDict) -> None:
    """Refuse contradictions; see `Family.check`."""
    model, objective = config.model.lbae, config.objective
    for key in ("encoder_channels", "decoder_channels"):
        if not model[key] or not all(isinstance(width, int) and width > 0 for width in model[key]):
            raise expected(f"model.lbae.{key}", "widths such as (64, 128, 256)", model[key])
    if objective.kl_weight and model.latent != "gaussian":
        raise expected("objective.kl_weight", "0 but for model.lbae.latent=gaussian", objective.kl_weight)
    if model.flip_probability and model.latent != "bits":
        raise expected("model.lbae.flip_probability", "0 but for model.lbae.latent=bits", model.flip_probability)


FAMILY = Family(MODEL, OBJECTIVE, ("encoder", "decoder"), CHOICES, INTERVALS, check)
