"""Checks what the annotations of functions say, as `jaxtyping.jaxtyped` does, in a fraction of its time.

jaxtyping builds two functions and two checkers whenever a function is defined, also one within another function, and
binds its arguments in Python three times a call: half of the time that tracing a model takes. Here functions without
annotations stay as they are; the others get one checker of arguments and one of the result at their first call, which
all functions of the same code and annotations share.
"""

import functools
import inspect
import typing
from collections.abc import Callable

import beartype
import jaxtyping

_jaxtyped, _dimensions = jaxtyping.jaxtyped, jaxtyping.jaxtyped("context")
_CHECKERS: dict = {}


def _checker(parameters, hints, defaults=None, keyword_defaults=None) -> Callable:
    """A function of these parameters that returns nothing, and raises where one is not what its hint says."""
    bare = [parameter.replace(annotation=parameter.empty) for parameter in parameters]
    bare = [one if one.default is one.empty else one.replace(default=None) for one in bare]
    names: dict = {}
    exec(f"def check{inspect.Signature(bare)}: pass", names)
    check = names["check"]
    check.__annotations__, check.__defaults__, check.__kwdefaults__ = hints, defaults, keyword_defaults
    return beartype.beartype(check)


def _checkers(fn) -> tuple[Callable, Callable]:
    """Of the arguments, and of the result."""
    key = (fn.__code__, *fn.__annotations__.items())
    if key not in _CHECKERS:
        hints = typing.get_type_hints(fn, include_extras=True)
        value = inspect.Parameter("value", inspect.Parameter.POSITIONAL_ONLY)
        of_result = _checker([value], {"value": hints.pop("return", typing.Any)})
        parameters = inspect.signature(fn).parameters.values()
        _CHECKERS[key] = _checker(parameters, hints, fn.__defaults__, fn.__kwdefaults__), of_result
    return _CHECKERS[key]


def checked(fn):
    """The function, whose arguments and result are checked.

    Classes are left to jaxtyping, and so are functions that never return or whose dimensions depend on arguments.
    """
    hints = () if inspect.isclass(fn) else fn.__annotations__.values()
    computed = any("{" in getattr(hint, "dim_str", "") for hint in hints)
    if inspect.isclass(fn) or computed or typing.NoReturn in hints:
        return _jaxtyped(fn, typechecker=beartype.beartype)
    if not hints:
        return fn

    own: list[tuple[Callable, Callable] | None] = []

    @functools.wraps(fn)
    def wrapped(*args, **kwargs):
        __tracebackhide__ = True
        if not own:  # perhaps in two threads at once
            try:
                own.append(_checkers(fn))
            except NameError:  # a hint of another package names what only that package knows
                own.append(None)
        if own[0] is None:
            return _jaxtyped(fn, typechecker=beartype.beartype)(*args, **kwargs)
        of_arguments, of_result = own[0]
        with _dimensions:  # one letter is one number in arguments and result
            try:
                of_arguments(*args, **kwargs)
            except Exception:
                _jaxtyped(fn, typechecker=beartype.beartype)(*args, **kwargs)  # says which argument is wrong
                raise
            result = fn(*args, **kwargs)
            try:
                of_result(result)
            except Exception as error:
                message = f"the result of {fn.__module__}.{fn.__qualname__} is not {fn.__annotations__['return']}"
                raise jaxtyping.TypeCheckError(message) from error
            return result

    return wrapped


def _decorator(fn=None, *, typechecker=None):
    """In place of `jaxtyping.jaxtyped`, whose other forms stay what they are."""
    return checked if fn is None else _jaxtyped(fn, typechecker=typechecker)


def install(package: str) -> None:
    """Checks the functions and dataclasses of a package, which must not be imported yet."""
    jaxtyping.jaxtyped = _decorator
    jaxtyping.install_import_hook(package, "beartype.beartype")
