"""The exchangeable process of BRUNO: which one, its initial parameters, and its refit in closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool
from ml_collections import ConfigDict

from exflow.core import gaussian_process, low_rank_process, mixture_process, student_t_process
from exflow.core.process import Process
from exflow.model import ProcessFunctions, Refit
from exflow.models.bruno.image_flow import FlowElement, ImageFlow
from exflow.models.bruno.sets import latent_sampler
from exflow.typing import Params, PRNGKey

CORRELATIONS = 0x636F7272  # separates the draw of initial correlations from those of flow and noise
PROCESSES: dict[str, Process] = {
    "gaussian": gaussian_process.PROCESS,
    "student_t": student_t_process.PROCESS,
    "mixture": mixture_process.PROCESS,
    "low_rank": low_rank_process.PROCESS,
}
WITHOUT_MOMENTS = ("raw_degrees_of_freedom", "raw_gaussian_weight")  # what a fit by moments does not estimate


def chosen_process(options: ConfigDict) -> Process:
    """The process that section `model.bruno` of the configuration names, with its options."""
    process, own = PROCESSES[options.process], {}
    if options.process in ("student_t", "mixture"):
        own = {"degrees_of_freedom": options.degrees_of_freedom}
    if options.process == "low_rank":
        own = {"rank": options.process_rank}
    fit = functools.partial(process.fit, learn_mean=options.learn_mean, **own)
    moments = {"variance": options.variance, "correlation": options.correlation}
    return process._replace(init_raw=functools.partial(process.init_raw, **moments, **own), fit=fit)


def initial(process: Process, options: ConfigDict, key: PRNGKey, dim: int) -> dict[str, Array]:
    """Trainable parameters of `dim` dimensions before training."""
    start = process.init_raw(dim)
    if options.correlation_range:
        low, high = options.correlation_range
        drawn = jax.random.uniform(jax.random.fold_in(key, CORRELATIONS), (dim,), jnp.float32, low, high)
        start["raw_correlation"] = jax.scipy.special.logit(drawn)
    return start


def process_functions(process: Process, flow: ImageFlow, options: ConfigDict) -> ProcessFunctions:
    """The capability of the process; the process is the part "process" of the parameters of the model."""

    def fit(params: Params, element_set: FlowElement, mask: Bool[Array, "sets set"]) -> Params:
        fitted = process.unconstrain(process.fit(element_set.z, mask=mask))
        kept = {name: raw for name, raw in params["process"].items() if name in WITHOUT_MOMENTS}
        return {**params, "process": fitted | kept}

    return ProcessFunctions(
        predictive=lambda params, state: process.predictive(process.constrain(params["process"]), state),
        decode=lambda params, z, context=None: flow.decode(params["flow"], z, context),
        refit=Refit(
            fit,
            at_start=options.process_init == "empirical",
            every=options.process_refresh_every,
            num_batches=options.process_init_batches,
        ),
        parameters=lambda params: process.marginals(process.constrain(params["process"])),
        restrict=restrict,
        sample=latent_sampler(process),
    )


def restrict(params: Params, elements: FlowElement, keep: Bool[np.ndarray, " dim"]) -> tuple[Params, FlowElement]:
    """See `ProcessFunctions.restrict`; the log-determinant stays that of the whole flow."""
    process = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[keep]), params["process"])
    return {**params, "process": process}, elements._replace(z=np.ascontiguousarray(elements.z[..., keep]))
