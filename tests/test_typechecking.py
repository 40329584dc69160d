"""The annotations of exflow are checked while tests run."""

from typing import NoReturn

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, TypeCheckError

from exflow.core import gaussian_process
from tests.typechecking import checked


@checked
def product(a: Float[Array, "rows inner"], b: Float[Array, "inner columns"], *, scale: int = 1) -> Float[Array, "rows"]:
    return scale * (a @ b)[:, 0] if b.shape[1] == 1 else a @ b


def test_arguments_are_what_they_say_and_agree():
    a = jnp.ones((2, 3))
    np.testing.assert_array_equal(product(a, jnp.ones((3, 1)), scale=2), [6, 6])
    for b, scale in ((jnp.ones((4, 1)), 1), (jnp.ones(3), 1), (np.ones((3, 1)), 1), (jnp.ones((3, 1)), 0.5)):
        with pytest.raises(TypeCheckError, match="checking the parameters of .*product"):
            product(a, b, scale=scale)
    with pytest.raises(TypeError, match="missing a required argument: 'b'"):
        product(a)


def test_results_are_what_they_say_and_agree_with_arguments():
    with pytest.raises(TypeCheckError, match="the result of .*product is not .*rows"):
        product(jnp.ones((2, 3)), jnp.ones((3, 2)))
    with pytest.raises(TypeCheckError, match="the result"):
        jax.jit(product)(jnp.ones((2, 3)), jnp.ones((3, 2)))


def test_functions_of_one_code_are_told_apart_by_their_annotations():
    def taking(kind):
        @checked
        def inner(value: kind, others: tuple[kind, ...] = ()) -> kind:
            return value

        return inner

    of_int, of_str = taking(int), taking(str)
    assert (of_int(1, (2,)), of_str("a"), taking(int)(3)) == (1, "a", 3)
    for wrong in (lambda: of_int("a"), lambda: of_str(1), lambda: taking(int)("a"), lambda: of_int(1, ("a",))):
        with pytest.raises(TypeCheckError, match="checking the parameters"):
            wrong()


def test_dimensions_that_are_computed_from_arguments():
    @checked
    def ones(num: int, wrong: bool) -> Float[np.ndarray, "{num} 2"]:
        return np.ones((num + wrong, 2))

    assert ones(3, False).shape == (3, 2)
    with pytest.raises(TypeCheckError, match="checking the return value"):
        ones(3, True)


def test_functions_that_never_return():
    @checked
    def stop(returns: bool) -> NoReturn:
        if not returns:
            raise KeyError

    with pytest.raises(KeyError):
        stop(False)
    with pytest.raises(Exception, match="NoReturn"):
        stop(True)


def test_functions_without_annotations_stay_as_they_are():
    def plain(x):
        return x

    assert checked(plain) is plain


def test_the_package_is_checked():
    with pytest.raises(TypeCheckError, match="checking the parameters of exflow.core.gaussian_process.init_state"):
        gaussian_process.init_state("no parameters")
