"""Keys of Matryoshka networks; the defaults are the published dense model of dynamically binarised MNIST."""

from ml_collections import ConfigDict

from exflow.config.checks import AT_LEAST_ONE, expected
from exflow.config.families import Family

MODEL = {
    "likelihood": "bernoulli",  # a name of exflow.core.likelihoods.likelihood
    # From the top: width-groups of a dense network, or size-width-groups of each resolution of a convolutional one,
    # such as 7-64-5,14-64-5,28-32-0; "-gru" or another block may stand behind
    "levels": "512-7",
    "block": "residual",  # of levels that name none: residual | projection (first published code) | gru (shared)
    "top_latent_dim": 64,
    "latent_dim": 64,  # units or channels of every group below the top
    "top_hidden": 64,  # hidden units between the top latent and the first state
    "top_shortcuts": True,  # a linear map beside them
    "shortcut_encoder": (512, 256),  # two layers from the image, whose output all merging modules see; (): none
    "entry_layers": 1,  # bottom-up layers behind the first, before the finest level
    "exit_layers": 1,  # top-down layers between the finest level and the output
    "entry_normalized": True,  # whether the first bottom-up layer is normalised
    # none | batch (running averages at evaluation) | batch_statistics (as published: always of the batch) | weight
    "normalization": "batch",
    "inference_noise": 0.1,  # standard deviation in every normalisation of the inference network, in training
    "generator_noise": 0.1,  # the same of the generator
    "activation": "leaky_relu",  # leaky_relu (slope 0.1) | relu | tanh | identity
    "bottom_up_activation": "",  # "": the same
    "activation_pattern": "all",  # all | meta: in a level only the last top-down, first bottom-up block is nonlinear
    "initialization": "orthogonal",  # orthogonal (scale 1.1) | normal (standard deviation 0.02)
    "merge_state": True,  # merging modules hand a state down
    "merge_difference": False,  # they see the difference of state and features, too
    "prior": "standard",  # of groups below the top: standard | mean (of the state above, variance 1) | full
    "initial_scale": 0.2,  # of the one factor on all means and log-variances
    "scale_owner": "generator",  # which network learns it: generator | inference | none (fixed)
    "summed_outputs": False,  # every step of a recurrent finest level adds to the output
    "gain_of_outputs": False,  # a learned factor on the last layer
    "remat": False,  # compute the blocks again in the backward pass
    "sample_means": True,  # pictures are means of the likelihood; False: draws
}
OBJECTIVE = {
    "repeats": 1,  # times that a batch is repeated, binarised and drawn anew
}
CHOICES = {
    "model.matnet.block": ("residual", "projection", "gru"),
    "model.matnet.normalization": ("none", "batch", "batch_statistics", "weight"),
    "model.matnet.activation": ("leaky_relu", "relu", "tanh", "identity"),
    "model.matnet.bottom_up_activation": ("", "leaky_relu", "relu", "tanh", "identity"),
    "model.matnet.activation_pattern": ("all", "meta"),
    "model.matnet.initialization": ("orthogonal", "normal"),
    "model.matnet.prior": ("standard", "mean", "full"),
    "model.matnet.scale_owner": ("generator", "inference", "none"),
}
INTERVALS = {
    "model.matnet.top_latent_dim": AT_LEAST_ONE,
    "model.matnet.latent_dim": AT_LEAST_ONE,
    "model.matnet.top_hidden": AT_LEAST_ONE,
    "objective.repeats": AT_LEAST_ONE,
}
INCIDENTAL = ("initialization", "remat", "sample_means", "initial_scale")


def check(config: ConfigDict) -> None:
    """Refuse contradictions; see `Family.check`."""
    encoder = config.model.matnet.shortcut_encoder
    if len(encoder) not in (0, 2) or not all(isinstance(width, int) and width > 0 for width in encoder):
        raise expected("model.matnet.shortcut_encoder", "() or two widths such as (512, 256)", encoder)


FAMILY = Family(MODEL, OBJECTIVE, ("generator", "inference"), CHOICES, INTERVALS, check, INCIDENTAL)
