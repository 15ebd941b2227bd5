"""A user's file as type checkers see it: `make lint` checks it, and that what is wrong is found."""

from typing import assert_type

import jax.numpy as jnp

import handgrad as hg
from handgrad.gradients import logistic


def use() -> None:
    """What is right, with the types that come back."""
    data = hg.load("breast-cancer")
    result = hg.fit(logistic.model(), data.x, data.y, epochs=3)
    verdict = hg.verify(lambda x: 2 * x, of=lambda x: jnp.sum(x * x), at=(jnp.ones(3),))
    assert_type(data, hg.Dataset)
    assert_type(result.loss, float)
    assert_type(verdict, hg.Verdict)
    assert_type(verdict.ok, bool)


def misuse() -> None:
    """What has to be an error of the type checker."""
    data = hg.load("breast-cancer")
    hg.fit(logistic.model(), data.x, data.y, epoch=3)  # type: ignore[call-arg]
    hg.no_such_thing  # type: ignore[attr-defined]  # noqa: B018
