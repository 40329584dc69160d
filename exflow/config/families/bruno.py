"""Keys of BRUNO, with the published values where it says so."""

from ml_collections import ConfigDict

from exflow.config.checks import AT_LEAST_ONE, BELOW_ONE, POSITIVE, expected, is_number
from exflow.config.families import Family
from exflow.errors import UserError

MODEL = {
    "process": "gaussian",  # gaussian | student_t | mixture (of both, per dimension) | low_rank (shared factors)
    "conditioning": "none",  # conditioners also see each image's context: none | original | clean (bruno.conditional)
    "turn_back": False,  # with conditioning: first undo the rotation by the angle of the context (bijectors.rotation)
    # Flow
    "scales": 2,  # of the convolutional stack, which halves the image scales - 1 times; 0: dense couplings only
    "filters": 64,  # of every convolution of a conditioner
    "residual_blocks": 8,  # per convolutional conditioner
    "dense_units": 512,  # of both hidden layers of a dense conditioner
    "dense_couplings": 6,  # after the convolutional stack
    "dense_mask": "alternate",  # of dense couplings: alternate (flat index, as published) | checkerboard
    "coupling": "affine",  # affine | affine_scaled (learned range of the log-scales) | spline (rational-quadratic)
    "spline_bins": 8,  # per entry
    "spline_bound": 12.0,  # splines map +- this onto itself; logit pixels lie within 12.3
    "weight_norm": True,
    "initialization": "original",  # data-dependent pass: original (un-normalised) | sequential (see nn.weight_norm)
    "bounded_features": False,  # conditioners also see 2 tanh(x / 2), in which dequantization noise hardly shows
    "alpha": 1e-5,  # the logit acts on alpha / 2 + (1 - alpha) x
    # How it is computed
    "conv_gradient": "auto",  # plain | matmul | forward (see exflow.nn.convolution) | auto (by backend)
    "remat": False,  # recompute activations in the backward pass: less memory, more time
    # Process
    "process_init": "constant",  # constant (the three values below) | empirical (maximum likelihood, closed form)
    "process_init_batches": 8,  # batches of training sets that "empirical" is fitted on
    "process_refresh_every": 0,  # steps after which it is fitted again to the latents of as many batches; 0: never
    "variance": 1.0,  # v of every latent dimension
    "correlation": 0.1,  # rho / v, in [0, 1)
    "correlation_range": (),  # (low, high): drawn from it for every latent dimension, in place of `correlation`
    "degrees_of_freedom": 1000.0,  # nu > 2, student_t and mixture; 10 lets a mixture tell its parts apart
    "process_rank": 8,  # factors that the dimensions share, low_rank only
    "learn_mean": False,  # the published model keeps the mean at 0
}
OBJECTIVE = {
    "generative_weight": 1.0,  # of the negative log-likelihood, nats per image
    "num_given": 0,  # 0: log p(x_n | x_<n); k: all but the first k images, each given those k alone
    "discriminative_weight": 0.0,  # of the few-shot cross-entropy, nats per query
    "ways": (0,),  # classes of an episode: a batch holds sets_per_batch / ways episodes; 0: one, of all its sets
    "shots": (1,),  # sizes of the support sets; the other images of the batch are the queries
    "queries_per_episode": 0,  # drawn at random; 0: all. BRUNO's fine-tuning has 1, of a random class
    "supports_per_set": 0,  # support windows per set and number of shots, each an episode; 0 = as many as images
    "temperature": 1.0,  # divides the class log-probabilities of the cross-entropy ...
    "learn_temperature": False,  # ... as a start value, at the learning rate of the process
    "label_smoothing": 0.0,  # in [0, 1)
}
CHOICES = {
    # bfloat16_products rounds the operands of dense products only, twice as fast on CPUs with AMX
    "model.compute_dtype": ("float32", "bfloat16", "bfloat16_products"),
    "model.bruno.process": ("gaussian", "student_t", "mixture", "low_rank"),
    "model.bruno.conditioning": ("none", "original", "clean"),
    "model.bruno.dense_mask": ("alternate", "checkerboard"),
    "model.bruno.coupling": ("affine", "affine_scaled", "spline"),
    "model.bruno.initialization": ("original", "sequential"),
    "model.bruno.conv_gradient": ("auto", "plain", "matmul", "forward"),
    "model.bruno.process_init": ("constant", "empirical"),
}
INTERVALS = {
    "model.bruno.filters": AT_LEAST_ONE,
    "model.bruno.dense_units": AT_LEAST_ONE,
    "model.bruno.process_init_batches": AT_LEAST_ONE,
    "model.bruno.process_rank": AT_LEAST_ONE,
    "model.bruno.variance": POSITIVE,
    "model.bruno.spline_bound": POSITIVE,
    "model.bruno.alpha": BELOW_ONE,
    "model.bruno.correlation": BELOW_ONE,
    "objective.temperature": POSITIVE,
    "objective.label_smoothing": BELOW_ONE,
}
INCIDENTAL = (
    *("initialization", "conv_gradient", "remat", "learn_mean"),
    *("process_init", "process_init_batches", "process_refresh_every"),
    *("variance", "correlation", "correlation_range", "degrees_of_freedom"),
)
RENAMED = {  # its keys stood in `config.model` itself, beside a section of set VAEs
    **{f"model.{key}": f"model.bruno.{key}" for key in MODEL},
    "objective.num_context": "objective.num_given",
    "optimizer.process_learning_rate_multiplier": "optimizer.groups.process.learning_rate_multiplier",
    "optimizer.process_freeze_steps": "optimizer.groups.process.freeze_steps",
}


def check(config: ConfigDict) -> None:
    """Refuse contradictions; see `Family.check`."""
    _check_model(config.model.bruno)
    _check_objective(config.objective, config.data)
    if config.objective.discriminative_weight > 0:
        _check_episodes(config.objective, config.data)


def _check_model(model: ConfigDict) -> None:
    if model.alpha == 0:
        raise expected("model.bruno.alpha", "a positive number", model.alpha, "The logit of 0 is infinite.")
    if not 2 <= model.spline_bins < 1000:
        raise expected("model.bruno.spline_bins", "at least 2 and less than 1000", model.spline_bins)
    if model.coupling == "spline" and model.conditioning == "original":
        raise expected("model.bruno.conditioning", "none or clean with coupling=spline", model.conditioning)
    if model.turn_back and model.conditioning == "none":
        raise expected("model.bruno.conditioning", "original or clean with turn_back", model.conditioning)
    if model.degrees_of_freedom <= 2:
        raise expected("model.bruno.degrees_of_freedom", "more than 2", model.degrees_of_freedom)
    drawn = model.correlation_range
    if drawn and not (len(drawn) == 2 and all(map(is_number, drawn)) and 0 < drawn[0] <= drawn[1] < 1):
        raise expected("model.bruno.correlation_range", "() or (low, high) with 0 < low <= high < 1", drawn)
    if model.process_refresh_every and model.process_init != "empirical":
        raise expected("model.bruno.process_init", "empirical with process_refresh_every > 0", model.process_init)


def _check_objective(objective: ConfigDict, data: ConfigDict) -> None:
    shots, ways = objective.shots, objective.ways
    if not shots or not all(isinstance(shot, int) and shot >= 1 for shot in shots):
        raise expected("objective.shots", "whole numbers of at least 1, such as 1,5", shots)
    if objective.generative_weight == 0 and objective.discriminative_weight == 0:
        raise UserError("config.objective: both weights are 0, nothing is learned. Set generative_weight=1.")
    if not ways or not all(isinstance(way, int) and way >= 0 and way != 1 for way in ways):
        raise expected("objective.ways", "whole numbers of at least 2, or 0 for all sets of a batch", ways)
    smallest = data.min_set_size or data.set_size
    if objective.num_given >= smallest:
        raise expected("objective.num_given", f"less than the {smallest} images of a set", objective.num_given)


def _check_episodes(objective: ConfigDict, data: ConfigDict) -> None:
    ways, most, sets = objective.ways, max(objective.shots), data.sets_per_batch
    if any(way and sets % way for way in ways):
        raise expected("objective.ways", f"divisors of data.sets_per_batch = {sets}", ways, "Episodes share no set.")
    if data.set_size <= most:
        more = f"more than max(objective.shots) = {most}"
        raise expected("data.set_size", more, data.set_size, "Queries are what is left.")
    if sets < 2:
        raise expected("data.sets_per_batch", "at least 2 classes to tell apart", sets)
    if not data.distinct:
        advice = "Two sets of one class cannot be told apart."
        raise expected("data.distinct", "True with objective.discriminative_weight > 0", data.distinct, advice)


FAMILY = Family(MODEL, OBJECTIVE, ("process",), CHOICES, INTERVALS, check, INCIDENTAL, RENAMED)
