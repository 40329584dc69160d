"""The compiled training step: materialize a batch, differentiate, guard against non-finite values, update."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array

from exflow.model import Model
from exflow.training.sharding import place_inputs, place_stacked_inputs, replicated, sharded_sets
from exflow.training.state import TrainState
from exflow.typing import Batch, Params, PRNGKey

Metrics = dict[str, Array]
TrainStep = Callable[[TrainState, Any, list[Any]], tuple[TrainState, list[Metrics]]]


class StepKeys(NamedTuple):
    """Randomness of one step by use."""

    transform: PRNGKey  # augmentation
    loss: PRNGKey  # dequantization noise and whatever else the loss draws


def named_keys(key: PRNGKey, step: Any) -> StepKeys:
    """Keys of step number `step`, a pure function of the training key and the step."""
    return StepKeys(*jax.random.split(jax.random.fold_in(key, step), len(StepKeys._fields)))


def init_train_state(
    optimizer: optax.GradientTransformation, params: Params, ema_decay: float, mesh: Mesh
) -> TrainState:
    """State before the first step, on every device of the mesh.

    Args:
      optimizer: As returned by `make_optimizer`.
      params: Initial parameters; their buffers are not reused.
      ema_decay: 0 keeps no moving average.
      mesh: Mesh with the axis "data".
    """

    def init(params: Params) -> TrainState:
        zero = jnp.zeros((), jnp.int32)
        copy = jax.tree.map(jnp.copy, params)
        return TrainState(
            zero, copy, jax.tree.map(jnp.copy, copy) if ema_decay else (), optimizer.init(copy), zero, zero
        )

    return jax.jit(init, out_shardings=replicated(mesh))(params)


def make_train_step(
    model: Model,
    optimizer: optax.GradientTransformation,
    schedule: Callable[[Any], Array],
    materialize: Callable[[Any, Any], Batch],
    key: PRNGKey,
    mesh: Mesh,
    ema_decay: float = 0.0,
    transform: Callable[[PRNGKey, Batch, Any], Batch] | None = None,
    scan: bool | None = None,
) -> TrainStep:
    """Build the function that advances training by as many steps as it is given inputs.

    A step's randomness depends on `key` and the step's number only. A step whose loss, or whose gradient's squared
    norm, is not finite changes neither parameters, moving average nor optimizer state: it is counted and skipped. (The
    squared norm covers gradients so large that their square, which the optimizers average, would be infinite.)

    Args:
      model: Provides `loss(params, key, batch)`. Its statistics, running averages of batch
        normalisation, replace the parameters of that name.
      optimizer: Gradients to updates.
      schedule: Learning rate after a number of updates, for the metrics.
      materialize: (resident, inputs) -> Batch, of the data pipeline.
      key: Training key, not folded with the step.
      mesh: Devices over which the sets of the batch are spread.
      ema_decay: Decay of the parameters' moving average, 0 for none. After n updates the decay used is
        min(ema_decay, (1 + n) / (10 + n)), so that the initial values are forgotten quickly.
      transform: Optional augmentation (key, batch, number of the step from 0) -> batch.
      scan: True runs the steps of one call in one `lax.scan`, one dispatch; False dispatches them one by one. Default:
        True except on CPU, where convolutions inside a loop run about 30 times slower and a dispatch costs nothing.

    Returns:
      Function (state, resident, list of host inputs) -> (state, list of metrics). The state given is donated. With
      `scan` there is one metrics entry with a leading axis, else one per step.
    """
    use_scan = jax.default_backend() != "cpu" if scan is None else scan

    def differentiated(params: Params, key: PRNGKey, batch: Batch) -> tuple[Array, tuple[Metrics, Params]]:
        found = model.loss(params, key, batch)
        return found.value, (found.metrics, found.statistics)

    def step(state: TrainState, resident: Any, inputs: Any) -> tuple[TrainState, Metrics]:
        keys = named_keys(key, state.step)
        batch = jax.lax.with_sharding_constraint(materialize(resident, inputs), sharded_sets(mesh))
        if transform is not None:
            batch = jax.lax.with_sharding_constraint(transform(keys.transform, batch, state.step), sharded_sets(mesh))
        batch = batch._replace(step=state.step)
        (loss, (metrics, statistics)), grads = jax.value_and_grad(differentiated, has_aux=True)(
            state.params, keys.loss, batch
        )
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        num_updates = state.step - state.num_skipped

        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        if statistics is not None:
            params = dict(params, statistics=statistics)  # pyright: ignore[reportArgumentType, reportCallIssue]
        ema_params = state.ema_params
        if ema_decay:
            n = num_updates.astype(jnp.float32) + 1
            weight = 1 - jnp.minimum(ema_decay, (1 + n) / (10 + n))
            ema_params = jax.tree.map(lambda average, p: average + weight * (p - average), ema_params, params)
        keep = (state.params, state.ema_params, state.opt_state)
        params, ema_params, opt_state = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), (params, ema_params, opt_state), keep
        )
        skipped = 1 - finite.astype(jnp.int32)
        new_state = TrainState(
            step=state.step + 1,
            params=params,
            ema_params=ema_params,
            opt_state=opt_state,
            num_skipped_in_a_row=(state.num_skipped_in_a_row + 1) * skipped,
            num_skipped=state.num_skipped + skipped,
        )
        metrics = {"loss": loss} | metrics
        metrics |= {
            "grad_norm": grad_norm,
            "learning_rate": schedule(num_updates),
            "num_skipped": new_state.num_skipped,
            "num_skipped_in_a_row": new_state.num_skipped_in_a_row,
        }
        return new_state, metrics

    whole = replicated(mesh)

    def compiled(function: Callable) -> Callable:
        return jax.jit(function, donate_argnums=0, out_shardings=(whole, whole))

    one = compiled(step)
    many = compiled(
        lambda state, resident, stacked: jax.lax.scan(
            lambda carry, inputs: step(carry, resident, inputs), state, stacked
        )
    )

    def run_one_by_one(state: TrainState, resident: Any, inputs: list[Any]) -> tuple[TrainState, list[Metrics]]:
        history = []
        for step_inputs in inputs:
            state, metrics = one(state, resident, place_inputs(mesh, step_inputs))
            history.append(metrics)
        return state, history

    def run_scanned(state: TrainState, resident: Any, inputs: list[Any]) -> tuple[TrainState, list[Metrics]]:
        state, metrics = many(state, resident, place_stacked_inputs(mesh, inputs))
        return state, [metrics]

    return run_scanned if use_scan else run_one_by_one
