"""Keys of Matryoshka networks; the defaults are the published dense model of dynamically binarised MNIST."""

from ml_collections import ConfigDict

from exflow.config.checks import AT_LEAST_ONE, expected
from exflow.config.families import Family

MODEL = {
    "likelihood": "bernoulli_clipped",  # logits in [-15, 15]; or another name of exflow.core.likelihoods.learned
    "head_filters": 0,  # of an autoregressive head between the last layer and the likelihood; 0: none
    # From the top: width-groups of a dense network, or size-width-groups of each resolution of a convolutional one,
    # such as 7-64-5,14-64-5,28-32-0; "-gru" or another block may stand behind
    "levels": "512-7",
    "block": "residual",  # of levels that name none: residual | projection (first published code) | gru (shared)
    "top_latent_dim": 64,
    "latent_dim": 64,  # units or channels of every group below the top
    "top_hidden": 64,  # hidden units between the top latent and the first state; 0: none
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
    # What is hidden of every image, to be imputed from the rest: "" (nothing) | quadrants (one of the four) | patches
    "conditional": "",
    "num_patches": 3,  # patches only
    "patch_size": 12,  # their height and width, pixels
    "prior": "standard",  # of groups below the top: standard | mean (of the state above, variance 1) | full
    "num_components": 0,  # of a mixture of Gaussians as the prior of the top latent; 0: standard
    "num_standard_entries": 0,  # of the top latent, which are N(0, 1) in every component
    "top_everywhere": False,  # the top latent enters the generator beside every group
    "initial_scale": 0.2,  # of the one factor on all means and log-variances
    "scale_owner": "generator",  # which network learns it: generator | inference | none (fixed)
    "summed_outputs": False,  # every step of a recurrent finest level adds to the output
    "gain_of_outputs": False,  # a learned factor on the last layer
    "remat": False,  # compute the blocks again in the backward pass
    "sample_means": True,  # pictures are means of the likelihood; False: draws
}
OBJECTIVE = {
    # elbo | iwae (importance-weighted over `draws`) | dreg (the same, with doubly reparametrised gradients)
    "bound": "elbo",
    "draws": 1,  # of the latents of every image, of the importance-weighted bound
    # elbo only: a weight of the divergences rises linearly to 1, while (squares) the squares of those of single
    # entries make up for the rest, as published, or (plain) nothing does
    "annealing": "squares",
    "annealing_start": 0.0,  # the weight at the first step
    "annealing_steps": 0,  # 0: the weight is 1
    # Of a mixture: the divergence of its latent, estimated from the drawn one, or (surrogate) a bound in closed form
    "mixture_divergence": "estimate",
    "entropy_weight": 0.0,  # of the mean entropy of the component given the top latent, added to the loss
    "free_bits": 0.0,  # elbo only: nats per image and group below which a divergence is not reduced further
    "sleep_start_step": 0,  # from here on the inference network learns from the generator's samples, too; 0: never
    "repeats": 1,  # times that a batch is repeated, binarised and drawn anew
}
CHOICES = {
    "model.compute_dtype": ("float32", "bfloat16_products", "bfloat16"),  # see `networks.plan.Style`
    "model.matnet.block": ("residual", "projection", "gru"),
    "model.matnet.normalization": ("none", "batch", "batch_statistics", "weight"),
    "model.matnet.activation": ("leaky_relu", "relu", "tanh", "identity"),
    "model.matnet.bottom_up_activation": ("", "leaky_relu", "relu", "tanh", "identity"),
    "model.matnet.activation_pattern": ("all", "meta"),
    "model.matnet.initialization": ("orthogonal", "normal"),
    "model.matnet.conditional": ("", "quadrants", "patches"),
    "model.matnet.prior": ("standard", "mean", "full"),
    "objective.mixture_divergence": ("estimate", "surrogate"),
    "objective.bound": ("elbo", "iwae", "dreg"),
    "objective.annealing": ("squares", "plain"),
    "model.matnet.scale_owner": ("generator", "inference", "none"),
}
INTERVALS = {
    "model.matnet.top_latent_dim": AT_LEAST_ONE,
    "model.matnet.latent_dim": AT_LEAST_ONE,
    "model.matnet.num_patches": AT_LEAST_ONE,
    "model.matnet.patch_size": AT_LEAST_ONE,
    "objective.repeats": AT_LEAST_ONE,
    "objective.draws": AT_LEAST_ONE,
}
INCIDENTAL = ("initialization", "remat", "sample_means", "initial_scale")


def check(config: ConfigDict) -> None:
    """Refuse contradictions; see `Family.check`."""
    model = config.model.matnet
    if not model.top_hidden and not model.top_shortcuts:
        raise expected("model.matnet.top_shortcuts", "True with top_hidden=0", model.top_shortcuts)
    encoder = config.model.matnet.shortcut_encoder
    if len(encoder) not in (0, 2) or not all(isinstance(width, int) and width > 0 for width in encoder):
        raise expected("model.matnet.shortcut_encoder", "() or two widths such as (512, 256)", encoder)
    if encoder and config.model.matnet.merge_difference:
        raise expected("model.matnet.shortcut_encoder", "() with merge_difference, whose features are states", encoder)
    if config.model.matnet.conditional:
        _check_conditional(config)


def _check_conditional(config: ConfigDict) -> None:
    """Refuse what a network whose priors see the observed pixels has no use for."""
    with_it = "with model.matnet.conditional"
    if config.model.matnet.prior != "standard":
        raise expected("model.matnet.prior", f"standard {with_it}", config.model.matnet.prior)
    if config.model.matnet.num_components:
        raise expected("model.matnet.num_components", f"0 {with_it}", config.model.matnet.num_components)
    if config.objective.sleep_start_step:
        raise expected("objective.sleep_start_step", f"0 {with_it}", config.objective.sleep_start_step)


FAMILY = Family(MODEL, OBJECTIVE, ("generator", "inference"), CHOICES, INTERVALS, check, INCIDENTAL)
