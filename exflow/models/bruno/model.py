"""BRUNO: a normalizing flow on single images and an exchangeable process per latent dimension.

log p(x_1, ..., x_n) = sum_i log |det dz_i / dx_i| + log p(z_1, ..., z_n) exactly, with z_i = flow(x_i) and, for every
latent dimension, an exchangeable Gaussian or Student-t process (or, beyond the paper, one of the other `PROCESSES`).
Source: Korshunova et al. 2018, arXiv:1802.07535.

Conditional BRUNO (`model.bruno.conditioning`) has z_i = flow(x_i; h_i), where the context h_i is known of each image,
such as its view angle. It is exchangeable over pairs (x_i, h_i); the process never sees a context. Source: Korshunova
et al. 2018, "Conditional BRUNO: A Deep Recurrent Process for Exchangeable Labelled Data", NeurIPS workshop on Bayesian
deep learning.
"""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from exflow.model import Model
from exflow.models.bruno.image_flow import FlowElement, image_flow
from exflow.models.bruno.objective import training_loss
from exflow.models.bruno.process import chosen_process, initial, process_functions
from exflow.models.bruno.sets import set_functions
from exflow.nn.weight_norm import folded
from exflow.typing import Batch, Context, Images, Params, PRNGKey


def bruno(config: ConfigDict, image_shape: tuple[int, int, int]) -> Model:
    """Build BRUNO from sections `model.bruno` and `objective` of the configuration.

    Args:
      config: Complete configuration.
      image_shape: Height, width and channels of the images.

    Returns:
      Model with parameters `{"flow": ..., "process": ...}`, and `"objective"` if the temperature is learned.
    """
    options, objective = config.model.bruno, config.objective
    flow, process = image_flow(config.model, image_shape), chosen_process(options)

    def init(key: PRNGKey, batch: Batch) -> Params:
        flow_key, noise_key = jax.random.split(key)
        params = {
            "flow": flow.init(flow_key, noise_key, batch.x_set, batch.context),
            "process": initial(process, options, key, flow.dim),
        }
        if objective.learn_temperature:
            params["objective"] = {"log_temperature": jnp.log(jnp.float32(objective.temperature))}
        return params

    def encode(params: Params, key: PRNGKey | None, x: Images, context: Context | None = None) -> FlowElement:
        return flow.encode(params["flow"], key, x, context)

    conditioning = f", {options.conditioning} conditioning" if flow.context_dim else ""
    return Model(
        name=f"bruno ({options.process} process{conditioning})",
        image_shape=image_shape,
        init=init,
        loss=training_loss(process, flow, objective, options.learn_mean),
        encode=encode,
        context_dim=flow.context_dim,
        group_of=group_of,
        folded=folded,
        sets=set_functions(process, flow, objective.num_given),
        process=process_functions(process, flow, options),
    )


def group_of(name: str) -> str:
    """Optimiser group of a top-level parameter: the temperature is trained like the process."""
    return {"process": "process", "objective": "process"}.get(name, "main")
