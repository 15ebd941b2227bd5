"""Functions that misbehave, and options that are none: each gets an answer in words."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handgrad.errors import InputError
from handgrad.verify import verify

AT = (np.array([0.5, -1.5]),)


def energy(x):
    return jnp.sum(x * x)


def double(x):
    return 2 * x


def judged(gradient=double, of=energy, at=AT, **options):
    return verify(gradient, of=of, at=at, dtypes=("float32",), evaluations=0, **options)


class Speechless(Exception):
    """Its text raises."""

    def __str__(self):
        raise RuntimeError


def fails(x):
    raise Speechless


@pytest.mark.parametrize(
    "gradient",
    [
        lambda x: np.array([None, None], object),
        lambda x: np.array([1.0, -3.0], object) * np.asarray(x, object),
        lambda x: np.ma.masked_array(2 * np.asarray(x), [True, False]),
        lambda x: 2 * np.asarray(x) + 0j,
        lambda x: np.array(["a", "b"]),
        fails,
        lambda x: exit(0),
    ],
    ids=["none", "object", "masked", "complex", "text", "speechless", "exit"],
)
def test_an_answer_that_cannot_be_judged_is_refused_in_words(gradient):
    with pytest.raises(InputError):
        judged(gradient)


@pytest.mark.parametrize("of", [fails, lambda x: jnp.sum(x * 1j), lambda x: exit(0)])
def test_a_loss_that_cannot_be_judged_is_refused_in_words(of):
    with pytest.raises(InputError):
        judged(of=of)


def test_a_leaked_tracer_is_never_right():
    kept = []

    def leaks(x):
        kept.append(x)
        return 2 * kept[0]

    try:
        right = judged(leaks).ok
    except InputError:  # where JAX finds out only when the program runs
        right = False
    assert not right


def test_inside_jit_it_says_that_values_are_missing():
    with pytest.raises(InputError, match="outside jit"):
        jax.jit(lambda x: judged(at=(x,)).digits)(jnp.ones(2))


def test_it_comes_back_to_the_callers_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def moves(x):
        os.chdir("/")
        return 2 * x

    assert judged(moves).ok
    assert os.getcwd() == str(tmp_path)


def test_the_callers_guards_do_not_disturb_it():
    with (
        jax.transfer_guard("disallow"),
        jax.debug_nans(True),
        jax.debug_infs(True),
        jax.disable_jit(),
    ):
        assert judged().ok
        assert jax.config.jax_disable_jit


def test_a_name_cannot_forge_a_line():
    verdict = judged(name="mine\nother: right\x1b[2J\0")
    assert str(verdict).splitlines()[0].startswith(r"mine\nother: right\x1b[2J\x00: right")


@pytest.mark.parametrize(
    "options", [{"strict": np.ones(2)}, {"seconds": 0}, {"seconds": "1"}, {"progress": 1}], ids=str
)
def test_nonsense_is_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        judged(**options)


def test_repeated_dtypes_are_judged_once():
    verdict = verify(double, of=energy, at=AT, dtypes=("float32",) * 100_000, evaluations=0)
    assert [row.dtype for row in verdict.numerics] == ["float32"]


def test_after_the_time_given_the_rest_is_undecided_and_said():
    verdict = judged(seconds=1e-9)
    assert not verdict.ok
    assert verdict.hand == "undecided"
    assert "not done: numerics in float32" in verdict.notes[-1]


def test_ctrl_c_gives_the_verdict_so_far():
    calls = []

    def interrupted(x):
        calls.append(x)
        if len(calls) > 5:  # in the midst of it: first it is asked how it can be read
            raise KeyboardInterrupt
        return 2 * np.frombuffer(x.tobytes(), x.dtype)

    verdict = judged(interrupted)
    assert not verdict.ok
    assert "interrupted; not done: " in verdict.notes[-1]
