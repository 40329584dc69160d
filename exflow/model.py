"""What a model is: a core that everything trains, and capabilities that evaluations, the API and modes ask for.

A model is pure functions; parameters are always passed in. `encode` maps every image on its own to an element, so that
an evaluation encodes each image once; all other functions work on elements. Leading axes are free. Log densities are in
nats per image. A capability that a model lacks is None, and what needs it says so.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from exflow.codes import CodeFunctions, Sampler
from exflow.codes import Codes as Codes  # with the other types of capabilities
from exflow.codes import Fitted as Fitted
from exflow.codes import FittedCodes as FittedCodes
from exflow.codes import TrainingCodes as TrainingCodes
from exflow.core.gaussian_process import GaussianPredictive
from exflow.core.latents.diagonal_gaussian import DiagonalGaussian
from exflow.core.latents.elements import EncodedElement, MeanFeatures, SeenElements
from exflow.core.latents.trace import TopDown
from exflow.core.likelihoods.likelihood import Likelihood
from exflow.core.low_rank_process import LowRankPredictive
from exflow.core.mixture_process import MixturePredictive
from exflow.core.observed import Imputation
from exflow.core.process import Marginals
from exflow.core.student_t_process import StudentTPredictive
from exflow.errors import UserError
from exflow.typing import Batch, Context, Element, Images, Loss, Params, Phase, PRNGKey, State

SetMask = Bool[Array, "*lead set"]
Predictive = GaussianPredictive | StudentTPredictive | MixturePredictive | LowRankPredictive
Capability = TypeVar("Capability")


@runtime_checkable
class Encode(Protocol):
    """Every image on its own, to an element with the same leading axes."""

    def __call__(
        self, params: Params, key: PRNGKey | None, x: Images, context: Context | None = None, /
    ) -> Element: ...  # no key: the noise is its mean


@runtime_checkable
class InitState(Protocol):
    """States of empty sets with leading axes."""

    def __call__(self, params: Params, batch_shape: tuple[int, ...] = (), /) -> State: ...


@runtime_checkable
class Update(Protocol):
    """States [...] after the elements [..., set] where the mask is True."""

    def __call__(self, params: Params, state: State, element_set: Element, mask: SetMask | None = None, /) -> State: ...


@runtime_checkable
class LogProb(Protocol):
    """Log p(element | state) of pairs [...]."""

    def __call__(self, params: Params, state: State, element: Element, draws: int = 1, /) -> Float[Array, "*lead"]: ...


@runtime_checkable
class Joint(Protocol):
    """Log p(X) of sets, [...]."""

    def __call__(
        self, params: Params, element_set: Element, mask: SetMask | None = None, draws: int = 1, /
    ) -> Float[Array, "*lead"]: ...


@runtime_checkable
class OfEveryElement(Protocol):
    """A log density of every element of sets, [..., set]; 0 where the mask is False."""

    def __call__(
        self, params: Params, element_set: Element, mask: SetMask | None = None, draws: int = 1, /
    ) -> Float[Array, "*lead set"]: ...


@runtime_checkable
class ClassLogProbs(Protocol):
    """Scores of elements [..., query] under states [..., class]; the largest is the answer."""

    def __call__(
        self, params: Params, states: State, elements: Element, draws: int = 1, /
    ) -> Float[Array, "*lead query class"]: ...


@runtime_checkable
class SampleImages(Protocol):
    """Images [num, ..., h, w, c] given states [...]; coherent: those of a state are one set of the same class."""

    def __call__(
        self,
        params: Params,
        state: State,
        key: PRNGKey,
        num_samples: int,
        coherent: bool = False,
        context: Context | None = None,  # [num, ..., context_dim]
        /,
    ) -> Images: ...


class SetFunctions(NamedTuple):
    """Densities and samples of exchangeable sets.

    `draws` is the number of draws of the latents where densities are bounds (`exact` is False); exact models ignore it.
    """

    exact: bool
    init_state: InitState
    update: Update
    remove: Callable[[Params, State, Element], State]  # without one element that was absorbed before
    merge: Callable[[Params, State, State], State]  # of the union of disjoint sets
    log_prob: LogProb
    joint: Joint
    conditional: OfEveryElement  # log p(x_n | x_<n)
    leave_one_out: OfEveryElement  # log p(x_n | all others)
    class_log_probs: ClassLogProbs
    sample: SampleImages
    # State without leading axes -> the same in little memory; not compiled. None: states do not grow
    compact: Callable[[State], State] | None = None
    work_bytes: int = 0  # needed per element of a set and draw, if more than the element itself
    num_given: int = 0  # elements that training conditions on; 0: on all before


@runtime_checkable
class Infer(Protocol):
    """Latents and parameters of the likelihood of every element of sets."""

    def __call__(
        self,
        params: Params,
        element_set: EncodedElement,
        mask: Bool[Array, "batch set"],
        key: PRNGKey | None,  # None: every latent is the mean of its Gaussian
        set_latents: tuple[Array, ...] | None = None,  # top first, in place of inferred ones; perhaps only upper ones
        means: tuple[int, ...] = (),  # of trace.SET and EXAMPLE: latents that are the means of their Gaussians
        num_levels: int | None = None,  # levels, from the top, whose latents the elements are made of; None: all
        /,
    ) -> tuple[TopDown, Float[Array, "batch set ..."]]: ...


@runtime_checkable
class Generate(Protocol):
    """The same for elements drawn from the prior, and so are latents of the set that are not given."""

    def __call__(
        self,
        params: Params,
        key: PRNGKey,
        shape: tuple[int, int],  # sets, elements of each
        set_latents: tuple[Array, ...] | None = None,
        means: tuple[int, ...] = (),
        num_levels: int | None = None,
        /,
    ) -> tuple[TopDown, Float[Array, "batch set ..."]]: ...


@runtime_checkable
class Regenerate(Protocol):
    """The same for elements whose latents of the levels from the top are given; those below are from their priors."""

    def __call__(
        self,
        params: Params,
        key: PRNGKey,
        given: tuple[Float[Array, "batch set ..."], ...],  # at least one
        /,
    ) -> tuple[TopDown, Float[Array, "batch set ..."]]: ...


class LatentFunctions(NamedTuple):
    """Latent variables of sets and of their elements, which are `EncodedElement`s; sets have axes [batch, set]."""

    likelihood: Likelihood
    encode_values: Callable[[Params, Float[Array, "*lead height width channels"]], EncodedElement]
    infer: Infer
    generate: Generate
    decode: Callable[[Params, TopDown, Bool[Array, "batch set"]], Float[Array, "batch set ..."]]
    # q(latent of the set | set) of every level, the latents above it at the means of their posteriors
    set_posteriors: Callable[[Params, SeenElements], list[DiagonalGaussian]]
    num_set_latents: int  # 0 where elements share no latent
    mean_features: MeanFeatures | None = None
    num_components: int = 0  # of the mixture that the top latent of every element comes from; 0: it comes from none
    regenerate: Regenerate | None = None  # None: it cannot draw the lower latents of an element anew
    work_bytes: int = 0  # needed per element and draw, if more than the element itself
    law: Callable[[Params], Likelihood] | None = None  # of a likelihood with parameters of its own; None: it has none

    def likelihood_of(self, params: Params) -> Likelihood:
        """The likelihood under the parameters of the model."""
        return self.likelihood if self.law is None else self.law(params)


@runtime_checkable
class Decode(Protocol):
    """Latent vectors [..., dim] to images."""

    def __call__(self, params: Params, z: Float[Array, "*lead dim"], context: Context | None = None, /) -> Images: ...


@runtime_checkable
class SampleLatents(Protocol):
    """Latent vectors [num, ..., dim] given states [...]; coherent as in `SampleImages`."""

    def __call__(
        self, params: Params, state: State, key: PRNGKey, num_samples: int, coherent: bool = False, /
    ) -> Float[Array, "num *lead dim"]: ...


class Refit(NamedTuple):
    """Parameters that have a closed form, and when they are fitted to the elements of training batches."""

    fit: Callable[[Params, Element, Bool[Array, "sets set"]], Params]
    at_start: bool  # before the first step
    every: int  # steps after which they are fitted again; 0: never
    num_batches: int


class ProcessFunctions(NamedTuple):
    """An exchangeable process of the latent vector `z` of every element."""

    predictive: Callable[[Params, State], Predictive]  # of the next z
    decode: Decode
    refit: Refit
    parameters: Callable[[Params], Marginals]  # of the latent dimensions, as learned
    # (params, elements, which dimensions) -> those of a model of these dimensions alone, whose process is the marginal
    restrict: Callable[[Params, Element, Bool[np.ndarray, " dim"]], tuple[Params, Element]]
    sample: SampleLatents | None = None  # what `sets.sample` decodes; None: it draws images in one piece


def one_group(name: str) -> str:
    """All parameters in the group "main", except "statistics", running averages that no gradient moves."""
    return "statistics" if name == "statistics" else "main"


def unchanged(params: Params) -> Params:
    """The parameters themselves."""
    return params


class Model(NamedTuple):
    """A generative model as pure functions; hashable, so that it can be a static argument of `jax.jit`."""

    name: str
    image_shape: tuple[int, int, int]  # height, width, channels; (1, 1, D) of vectors
    init: Callable[[PRNGKey, Batch], Params]  # initialised on the batch
    loss: Callable[[Params, PRNGKey, Batch], Loss]
    encode: Encode
    value_dtype: str = "uint8"  # of x: uint8 (pixels 0..255) | float32 (vectors)
    context_dim: int = 0  # numbers known of every image; 0: the model takes no context
    group_of: Callable[[str], str] = one_group  # optimiser group of a top-level parameter
    folded: Callable[[Params], Params] = unchanged  # equal parameters that no longer change, and are quicker to use
    phases: tuple[Phase, ...] = ()  # of a training step; (): one, the loss on all groups
    # (initial params, all training images, some at a time) -> params with their statistics, before the first step
    fit_images: Callable[[Params, Iterable[UInt8[np.ndarray, "..."]]], Params] | None = None
    sets: SetFunctions | None = None
    latents: LatentFunctions | None = None
    process: ProcessFunctions | None = None
    codes: CodeFunctions | None = None
    sampler: Sampler | None = None
    imputation: Imputation | None = None

    @property
    def of_vectors(self) -> bool:
        """Whether the data are vectors of real numbers; otherwise they are pictures."""
        return self.value_dtype != "uint8"


def sets_of(model: Model) -> SetFunctions:
    """Densities and samples of sets.

    Raises:
      UserError: The model has none.
    """
    return _capability(model, model.sets, "densities of sets")


def latents_of(model: Model) -> LatentFunctions:
    """Latent variables.

    Raises:
      UserError: The model has none.
    """
    return _capability(model, model.latents, "latent variables")


def process_of(model: Model) -> ProcessFunctions:
    """The exchangeable process of the latents of elements.

    Raises:
      UserError: The model has none.
    """
    return _capability(model, model.process, "exchangeable process of its latent dimensions")


def codes_of(model: Model) -> CodeFunctions:
    """Codes of images.

    Raises:
      UserError: The model has none.
    """
    return _capability(model, model.codes, "codes")


def sampler_of(model: Model) -> Sampler:
    """A distribution fitted after training.

    Raises:
      UserError: The model has none.
    """
    return _capability(model, model.sampler, "sampler that is fitted after training")


def imputation_of(model: Model) -> Imputation:
    """Draws of hidden pixels.

    Raises:
      UserError: The model has none.
    """
    advice = "Train one of configs/matnet_imputation.py."
    return _capability(model, model.imputation, "imputation of hidden pixels", advice)


def _capability(model: Model, found: Capability | None, what: str, advice: str = "") -> Capability:
    if found is None:
        raise UserError(f"{model.name}: has no {what}. {advice or 'Choose a model that has.'}")
    return found
