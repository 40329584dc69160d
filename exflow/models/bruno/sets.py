"""Exact densities and samples of sets by BRUNO: log-determinants of the flow, and the process of latent vectors."""

from jaxtyping import Array, Bool, Float

from exflow.core.process import Process
from exflow.core.statistics import SetStatistics
from exflow.model import SampleLatents, SetFunctions
from exflow.models.bruno.image_flow import FlowElement, ImageFlow, masked
from exflow.typing import Context, Images, Params, PRNGKey

SetMask = Bool[Array, "*lead set"]
PerElement = Float[Array, "*lead set"]


def latent_sampler(process: Process) -> SampleLatents:
    """Draws of latent vectors: `ProcessFunctions.sample`."""

    def sample(
        params: Params, state: SetStatistics, key: PRNGKey, num_samples: int, coherent: bool = False
    ) -> Float[Array, "num *lead dim"]:
        draw = process.sample_joint if coherent else process.sample
        return draw(process.constrain(params["process"]), state, key, num_samples)

    return sample


def set_functions(process: Process, flow: ImageFlow, num_given: int) -> SetFunctions:
    """Build the capability; the state of a set is that of the process.

    Args:
      process: Of latent vectors.
      flow: Of images.
      num_given: See `SetFunctions`.
    """
    draw = latent_sampler(process)

    def constrain(params: Params) -> Params:
        return process.constrain(params["process"])

    def log_prob(params: Params, state: SetStatistics, element: FlowElement, draws: int = 1) -> Array:
        del draws
        return process.predictive_log_prob(constrain(params), state, element.z) + element.log_det

    def conditional(
        params: Params, element_set: FlowElement, mask: SetMask | None = None, draws: int = 1
    ) -> PerElement:
        del draws
        log_probs = process.log_prob(constrain(params), element_set.z, mask)
        return log_probs + masked(element_set.log_det, mask)

    def leave_one_out(
        params: Params, element_set: FlowElement, mask: SetMask | None = None, draws: int = 1
    ) -> PerElement:
        del draws
        log_probs = process.leave_one_out_log_prob(constrain(params), element_set.z, mask)
        return log_probs + masked(element_set.log_det, mask)

    def class_log_probs(params: Params, states: SetStatistics, elements: FlowElement, draws: int = 1) -> Array:
        del draws
        log_probs = process.class_log_probs(constrain(params), states, elements.z)
        return log_probs + elements.log_det[..., None]

    def sample(
        params: Params,
        state: SetStatistics,
        key: PRNGKey,
        num_samples: int,
        coherent: bool = False,
        context: Context | None = None,
    ) -> Images:
        return flow.decode(params["flow"], draw(params, state, key, num_samples, coherent), context)

    return SetFunctions(
        exact=True,
        init_state=lambda params, batch_shape=(): process.init_state(constrain(params), batch_shape),
        update=lambda params, state, element_set, mask=None: process.update_set(
            constrain(params), state, element_set.z, mask
        ),
        remove=lambda params, state, element: process.remove(constrain(params), state, element.z),
        merge=lambda params, a, b: process.merge(constrain(params), a, b),
        log_prob=log_prob,
        joint=lambda params, element_set, mask=None, draws=1: conditional(params, element_set, mask).sum(axis=-1),
        conditional=conditional,
        leave_one_out=leave_one_out,
        class_log_probs=class_log_probs,
        sample=sample,
        num_given=num_given,
    )
