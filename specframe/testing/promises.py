"""How a check calls a component: whatever it raises or returns becomes a sentence that names the promise."""

from __future__ import annotations

import contextlib
import functools
import inspect
import random
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from specframe.contracts.protocols import complaint
from specframe.errors import one_line

P = ParamSpec("P")
T = TypeVar("T")

# What the global generators are at while a check runs: a state that no component seeds them to.
_ODD_SEED = 20260731


class BrokenPromise(AssertionError):
    """A component does not do what its contract in ``specframe.contracts.protocols`` promises."""


def require(condition: object, broken: str) -> None:
    """Raise ``BrokenPromise`` with what is broken, unless the condition holds."""
    if not condition:
        raise BrokenPromise(broken)


def require_contract(component: object, contract: type) -> None:
    """Raise ``BrokenPromise`` unless a component inherits its contract and has what that leaves open."""
    require(
        not isinstance(component, type),
        f"it is the class {getattr(component, '__name__', '')}; allowed: an object of it, as "
        "its factory makes it",
    )
    try:
        what = complaint(component, contract)
    except Exception as error:  # of a property
        raise BrokenPromise(f"reading what it declares raised {one_line(error)}") from error
    require(what is None, f"it {what}")


def made_by(make: Callable[[], T]) -> T:
    """Return what a function makes: a new component, unbound.

    Raises:
        BrokenPromise: it raises, or is no function.
    """
    require(
        callable(make),
        f"a {type(make).__name__} was given; allowed: a function that returns a new one",
    )
    try:
        return make()
    except (Exception, SystemExit) as error:
        raise BrokenPromise(f"the factory raised {one_line(error)}") from error


def declared(component: object, name: str) -> Any:
    """Return an attribute of a component.

    Raises:
        BrokenPromise: reading it raises.
    """
    try:
        return getattr(component, name)
    except Exception as error:  # a property may raise anything
        raise BrokenPromise(f"reading {name} raised {one_line(error)}") from error


def require_whole(component: object, name: str, least: int, most: int | None = None) -> None:
    """Raise ``BrokenPromise`` unless an attribute is an int from ``least`` to ``most``."""
    number = declared(component, name)
    allowed = f"{least} or more" if most is None else f"{least} to {most}"
    require(
        type(number) is int and number >= least and (most is None or number <= most),
        f"{name} is {number!r}; allowed: {allowed}, a whole number",
    )


def require_flag(component: object, name: str) -> None:
    """Raise ``BrokenPromise`` unless an attribute is True or False."""
    value = declared(component, name)
    require(type(value) is bool, f"{name} is {value!r}; allowed: True or False")


def require_tensor(
    value: object,
    what: str,
    dtype: torch.dtype,
    shape: tuple[int | None, ...],
    device: torch.device | None = None,
) -> None:
    """Raise ``BrokenPromise`` unless a value is a tensor of a dtype and a shape, None for any size.

    Args:
        value: anything.
        what: it is called in the sentence.
        dtype: that it must have.
        shape: likewise.
        device: likewise; None for any.
    """
    require(isinstance(value, Tensor), f"{what} is of type {type(value).__name__}; it must be a tensor")
    assert isinstance(value, Tensor)
    name = str(dtype).removeprefix("torch.")
    require(value.dtype == dtype, f"{what} has dtype {value.dtype}; it must be {name}")
    require(
        value.ndim == len(shape),
        f"{what} has {value.ndim} dimensions; it must have {'one' if len(shape) == 1 else len(shape)}",
    )
    fits = all(wanted in (None, size) for size, wanted in zip(value.shape, shape, strict=True))
    require(fits, f"{what} has shape {list(value.shape)}; it must be {list(shape)}")
    require(
        device is None or value.device == device,
        f"{what} is on the device {value.device}; its inputs are on {device}",
    )


def called(component: object, method: str, *given: Any) -> Any:
    """Return what a method of a component returns.

    Raises:
        BrokenPromise: it raises, or changes what does not belong to it: torch's global generator or
            settings, or a tensor that it was given.
    """
    before = [one.clone() if isinstance(one, Tensor) else None for one in given]
    world = _world()
    try:
        returned = getattr(component, method)(*given)
    except BrokenPromise:
        raise
    except (Exception, SystemExit) as error:
        cause = _broken_inside(error)
        if cause is not None:
            raise cause from None
        raise BrokenPromise(
            f"{method}() raised {one_line(error)}; the promise is {promise(component, method)}"
        ) from error
    for name, one, other in zip(_WORLD, world, _world(), strict=True):
        same = torch.equal(one, other) if isinstance(one, Tensor) else one == other
        require(same, f"{method}() changed {name}; {_ALLOWED[name]}")
    for number, (kept, one) in enumerate(zip(before, given, strict=True)):
        # Equal bits, so that NaN equals itself.
        if kept is not None and not (kept.shape == one.shape and torch.equal(_bits(kept), _bits(one))):
            name = _parameters(component, method)[number]
            raise BrokenPromise(f"{method}() changed {name}; its inputs belong to the engine")
    return returned


def promise(component: object, method: str) -> str:
    """Return the signature of a method as its contract has it."""
    for one in type(component).__mro__:
        if one.__module__.startswith("specframe.contracts") and method in vars(one):
            signature = inspect.signature(getattr(one, method))
            names = ", ".join(name for name in signature.parameters if name != "self")
            returned = signature.return_annotation
            return f"{method}({names})" + ("" if returned in ("None", None) else f" -> {returned}")
    return f"{method}()"


def alone(check: Callable[P, T]) -> Callable[P, T]:
    """Return a check that leaves the global generators and settings as it found them."""

    @functools.wraps(check)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        kept = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002 - strangers may seed it
        dtype, gradients, threads = (
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.get_num_threads(),
        )
        torch.default_generator.manual_seed(_ODD_SEED)
        try:
            return check(*args, **kwargs)
        finally:
            torch.set_rng_state(kept[0])
            random.setstate(kept[1])
            np.random.set_state(kept[2])  # noqa: NPY002
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(gradients)
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)

    return run


@contextlib.contextmanager
def unblamed() -> Iterator[None]:
    """Let a broken promise through as it is, where the core wraps what components raise."""
    try:
        yield
    except Exception as error:
        broken = _broken_inside(error)
        if broken is None or broken is error:
            raise
        raise broken from None


def _broken_inside(error: BaseException | None) -> BrokenPromise | None:
    """Return the broken promise that an error was made of, or None."""
    while error is not None and not isinstance(error, BrokenPromise):
        error = error.__cause__
    return error


_ALLOWED = {
    "torch's global generator": "all randomness comes from the generator that is passed in",
    "Python's global generator": "all randomness comes from the generator that is passed in",
    "NumPy's global generator": "all randomness comes from the generator that is passed in",
    "torch's default dtype": "global settings belong to the program",
    "whether gradients are computed": "global settings belong to the program",
    "the number of threads": "global settings belong to the program",
}
_WORLD = tuple(_ALLOWED)


def _world() -> tuple[Any, ...]:
    """Return what a call must leave as it is, in the order of ``_WORLD``."""
    numpy_state: Any = np.random.get_state()  # noqa: NPY002 - to see that nobody draws from it
    return (
        torch.get_rng_state(),
        random.getstate(),
        (numpy_state[2], numpy_state[1].tobytes()),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
    )


def _parameters(component: object, method: str) -> list[str]:
    """Return what the inputs of a method are called."""
    listed = promise(component, method).partition("(")[2].partition(")")[0]
    return listed.split(", ")


def _bits(values: Tensor) -> Tensor:
    return (
        values.detach().contiguous().view(torch.uint8)
        if values.ndim
        else values.detach()[None].view(torch.uint8)
    )
