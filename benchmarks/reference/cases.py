"""Which published models are measured against their references, with how many sets; sizes are the published ones."""

from typing import Any, NamedTuple

from benchmarks.cases import TINY


class Case(NamedTuple):
    """A model and its batch."""

    spec: str
    overrides: dict[str, Any]
    quick: dict[str, Any]  # overrides of tiny sizes


CASES = {
    "bruno_dense": Case("bruno_mnist_dense", {}, {"data.image_size": 8} | TINY | {"model.bruno.scales": 0}),
    "bruno": Case("bruno_omniglot", {"data.sets_per_batch": 4}, {"data.image_size": 8} | TINY),
}


def overrides_of(case: Case, quick: bool) -> dict[str, Any]:
    """Changes of the configuration."""
    return case.overrides | (case.quick if quick else {})
