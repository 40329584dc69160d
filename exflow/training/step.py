"""The compiled training step: materialize a batch, differentiate, guard against non-finite values, update."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array

from exflow.model import Model
from exflow.training.groups import STATISTICS
from exflow.training.phases import no_metrics, of_moving, phase_key, phase_metrics, phases_of
from exflow.training.sharding import place_inputs, place_stacked_inputs, replicated, sharded_sets
from exflow.training.state import TrainState
from exflow.typing import Batch, Params, PRNGKey

Metrics = dict[str, Array]
# (state, resident, placed inputs) -> (state, metrics, of several steps with a leading axis)
Program = Callable[[TrainState, Any, Any], tuple[TrainState, Metrics]]
Transform = Callable[[PRNGKey, Batch, Any], Batch]  # (key, batch, number of the step from 0) -> batch


class TrainStep(NamedTuple):
    """The compiled step and how it wants its inputs."""

    # Inputs of consecutive steps on the host -> on the devices, for as many calls as these steps take
    place: Callable[[list[Any]], Iterator[Any]]
    step: Program  # with all phases
    programs: dict[int, Program]  # number of a step -> the program from it on, until the next number; the first is 0

    def at(self, number: int) -> Program:
        """The program of a step by its number from 0: with the phases that have started."""
        return self.programs[max(start for start in self.programs if start <= number)]

    def steps_until_next_program(self, number: int) -> int | float:
        """How many steps from this one on have the same program; infinitely many if all of them."""
        return min((start for start in self.programs if start > number), default=math.inf) - number


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
    optimizer: optax.GradientTransformationExtraArgs,
    schedule: Callable[[Any], Array],
    materialize: Callable[[Any, Any], Batch],
    key: PRNGKey,
    mesh: Mesh,
    ema_decay: float = 0.0,
    transform: Transform | None = None,
    scan: bool | None = None,
    only_groups: tuple[str, ...] = (),
    donate: bool | None = None,
) -> TrainStep:
    """Build the step of training: every phase of the model once, one after the other, on one batch.

    Phases that start later make programs of their own: a branch inside one program would compute its convolutions some
    50 times slower on CPU, as loops do.

    A step's randomness depends on `key` and the step's number only. A step where the loss of a phase, or its gradient's
    squared norm, is not finite changes neither parameters, moving average nor optimizer state: it is counted and
    skipped. (The squared norm covers gradients so large that their square, which the optimizers average, would be
    infinite.)

    Args:
      model: Provides the losses. Running averages that a loss gives replace the parameters called "statistics".
      optimizer: Gradients to updates, as made by `make_optimizer`.
      schedule: Learning rate after a number of steps, for the metrics.
      materialize: (resident, inputs) -> Batch, of the data pipeline.
      key: Training key, not folded with the step.
      mesh: Devices over which the sets of the batch are spread.
      ema_decay: Decay of the parameters' moving average, 0 for none. After n updates the decay used is
        min(ema_decay, (1 + n) / (10 + n)), so that the initial values are forgotten quickly.
      transform: Optional augmentation.
      scan: True runs all steps it is given inputs for in one `lax.scan`, one dispatch; False dispatches them one by
        one. Default: True except on CPU, where convolutions inside a loop run about 30 times slower and a dispatch
        costs nothing.
      only_groups: The only groups of parameters that may change, "statistics" among them; (): all.
      donate: Whether the state is given up for the next one to take its memory. Default: True except on CPU, where XLA
        copies every array that it would overwrite, which takes the memory again and time besides.

    Returns:
      The compiled step.
    """
    on_cpu = jax.default_backend() == "cpu"
    use_scan, use_donation = not on_cpu if scan is None else scan, not on_cpu if donate is None else donate

    def changes(name: str) -> bool:
        return not only_groups or model.group_of(name) in only_groups

    def step(start: int, state: TrainState, resident: Any, inputs: Any) -> tuple[TrainState, Metrics]:
        keys = named_keys(key, state.step)
        batch = jax.lax.with_sharding_constraint(materialize(resident, inputs), sharded_sets(mesh))
        if transform is not None:
            batch = jax.lax.with_sharding_constraint(transform(keys.transform, batch, state.step), sharded_sets(mesh))
        batch = batch._replace(step=state.step)
        num_updates = state.step - state.num_skipped
        params, opt_state, finite, metrics = dict(state.params), state.opt_state, jnp.bool_(True), {}
        for number, phase in enumerate(phases_of(model, params, only_groups)):
            moving, phase_loss = of_moving(phase, params, model.group_of)
            loss_key = phase_key(keys.loss, number)
            if phase.start_step > start:
                metrics |= phase_metrics(phase, number, no_metrics(phase_loss, moving, loss_key, batch))
                continue
            (value, loss), grads = jax.value_and_grad(phase_loss, has_aux=True)(moving, loss_key, batch)
            grad_norm = optax.tree.norm(grads)
            finite &= jnp.isfinite(value) & jnp.isfinite(grad_norm)
            updates, opt_state = optimizer.update(grads, opt_state, moving, step=num_updates)
            params |= optax.apply_updates(moving, updates)  # pyright: ignore[reportOperatorIssue]
            if loss.statistics is not None and changes(STATISTICS):
                params |= {STATISTICS: loss.statistics}
            own = {"loss": value} | loss.metrics | {"grad_norm": grad_norm}
            metrics |= phase_metrics(phase, number, own)
        ema_params = state.ema_params
        if ema_decay:
            n = num_updates.astype(jnp.float32) + 1
            weight = 1 - jnp.minimum(ema_decay, (1 + n) / (10 + n))
            averaged = jax.tree.map(lambda average, p: average + weight * (p - average), ema_params, params)
            ema_params = {name: averaged[name] if changes(name) else ema_params[name] for name in averaged}
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
        metrics |= {
            "learning_rate": schedule(num_updates),
            "num_skipped": new_state.num_skipped,
            "num_skipped_in_a_row": new_state.num_skipped_in_a_row,
        }
        return new_state, metrics

    whole = replicated(mesh)

    def steps(start: int, state: TrainState, resident: Any, stacked: Any) -> tuple[TrainState, Metrics]:
        return jax.lax.scan(lambda carry, inputs: step(start, carry, resident, inputs), state, stacked)

    def program(start: int) -> Program:
        function = partial(steps if use_scan else step, start)
        return jax.jit(function, donate_argnums=(0,) if use_donation else (), out_shardings=(whole, whole))

    def place(inputs: list[Any]) -> Iterator[Any]:
        if use_scan:
            return iter([place_stacked_inputs(mesh, inputs)])
        return (place_inputs(mesh, step_inputs) for step_inputs in inputs)

    programs = {start: program(start) for start in sorted({0, *(phase.start_step for phase in model.phases)})}
    return TrainStep(place, programs[max(programs)], programs)
