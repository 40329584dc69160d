"""Keys of hierarchical set VAEs; the defaults are the Neural Statistician as in Giannone & Winther 2022."""

from ml_collections import ConfigDict

from exflow.config.checks import AT_LEAST_ONE, expected
from exflow.config.families import Family

MODEL = {
    "hierarchy": "vector",  # vector | map (latents are 4x4 maps) | stream (residual streams: SCHA-VAE)
    "likelihood": "bernoulli",  # a name of exflow.core.likelihoods.likelihood
    "hidden": 512,  # width; a multiple of 4
    "latent_dim": 32,  # channels of every latent of an element
    "set_latent_dim": 32,  # channels of every latent of a set
    "aggregation": "mean",  # of elements to a set: mean | max | attention (LAG) | learned_query
    "residual_posteriors": False,  # posteriors are offsets from their priors
    "log_variance_bound": 0.0,  # > 0 keeps log-variances of latents inside (-bound, bound), softly; 0: none
    # vector and map
    "num_levels": 3,  # latents of an element
    "set_latent_levels": "top",  # levels with a latent of the set: none | top | all
    "prior_aggregation": "mean",  # the same in priors of the latents of the set below the top
    "film": False,  # the latent of the set modulates what else enters a network of an element latent
    "encoder_filters": 64,  # of the first of three stages
    "raw_elements": False,  # posteriors of elements see the encoder's maps, not their projection
    "num_blocks": 1,  # residual blocks of a network of an element latent ...
    "block_depth": 3,  # ... and their layers
    "activation": "elu",  # elu | relu
    "normalization": "batch",  # of hidden layers: batch | group | none. Only batch depends on the other sets
    "head_normalization": "",  # of means and log-variances; "": global_batch for vectors, batch for maps
    "initialization": "uniform_fan_in",  # uniform_fan_in | xavier_normal
    "shared_variance": False,  # vector data: one learned variance per entry
    "unused_parameters": False,  # create the weights that the published models count and never use
    # stream: "resolution-number,..." of blocks or levels, from fine to coarse
    "encoder_blocks": "32-9,16-6,8-6,4-6,2-3,1-3",
    "levels": "8-6,4-6,2-3,1-3",
    "decoder_blocks": "32-9,16-6,8-6",
    "decoder_set_stream": "corner",  # what the decoder sees of the set's stream: corner (as published) | mean | map
    "examples_to_set_latents": False,  # element latents enter the prior of the next latent of the set
    # How a trained model answers
    "class_rule": "kl",  # class of a query: kl (between posteriors of the set's latents) | elbo (its log-density)
    "sample_means": True,  # pictures are means of the likelihood, as published; False (and vectors): draws
}
OBJECTIVE = {  # loss = -(w log p(x | latents) - KL / w) with w = 1 + alpha alpha_decay^epoch; evaluation has w = 1
    "alpha": 0.0,
    "alpha_decay": 1.0,  # per epoch, in (0, 1]
    "epoch_steps": 1,  # steps of an epoch
    "free_bits": 0.0,  # nats per image and level below which a divergence is not reduced further
}
AGGREGATIONS = ("mean", "max", "attention", "learned_query")
CHOICES = {
    "model.compute_dtype": ("float32", "bfloat16"),  # of hidden layers of encoder, decoder and residual blocks
    "model.set_vae.hierarchy": ("vector", "map", "stream"),
    "model.set_vae.set_latent_levels": ("none", "top", "all"),
    "model.set_vae.aggregation": AGGREGATIONS,
    "model.set_vae.prior_aggregation": AGGREGATIONS,
    "model.set_vae.activation": ("elu", "relu"),
    "model.set_vae.normalization": ("batch", "group", "none"),
    "model.set_vae.head_normalization": ("", "batch", "global_batch", "group", "none"),
    "model.set_vae.initialization": ("uniform_fan_in", "xavier_normal"),
    "model.set_vae.decoder_set_stream": ("corner", "mean", "map"),
    "model.set_vae.class_rule": ("kl", "elbo"),
}
INTERVALS = {
    "model.set_vae.hidden": AT_LEAST_ONE,
    "model.set_vae.latent_dim": AT_LEAST_ONE,
    "model.set_vae.set_latent_dim": AT_LEAST_ONE,
    "model.set_vae.num_levels": AT_LEAST_ONE,
    "model.set_vae.encoder_filters": AT_LEAST_ONE,
    "model.set_vae.num_blocks": AT_LEAST_ONE,
    "model.set_vae.block_depth": AT_LEAST_ONE,
    "objective.epoch_steps": AT_LEAST_ONE,
}
INCIDENTAL = ("initialization", "class_rule", "sample_means")
RENAMED = {
    "model.set_vae.level_loop": "model.block_loop",
    "model.set_vae.limit_level": "",
    "model.set_vae.context_dim": "model.set_vae.set_latent_dim",
    "model.set_vae.context_levels": "model.set_vae.set_latent_levels",
    "model.set_vae.decoder_context": "model.set_vae.decoder_set_stream",
    "model.set_vae.latents_to_contexts": "model.set_vae.examples_to_set_latents",
}


def check(config: ConfigDict) -> None:
    """Refuse contradictions; see `Family.check`."""
    model = config.model.set_vae
    if model.hidden % 4:
        raise expected("model.set_vae.hidden", "a multiple of 4", model.hidden)
    without = model.hierarchy != "stream" and model.set_latent_levels == "none"
    if without and model.class_rule == "kl" and config.evaluation.settings:
        advice = "A VAE has no latents of a set to compare. Or rank no classes: --config.evaluation.settings= (empty)"
        raise expected("model.set_vae.class_rule", "elbo with set_latent_levels=none", model.class_rule, advice)


FAMILY = Family(MODEL, OBJECTIVE, (), CHOICES, INTERVALS, check, INCIDENTAL, RENAMED)
