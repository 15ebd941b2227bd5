"""The chunked output layer equals the direct one, in value, gradients and memory kept."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from handgrad import losses
from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.fast import linear_cross_entropy as fast
from handgrad.gradients import linear_cross_entropy as reference


def problem(tokens=23, features=5, words=37, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(tokens, features)).astype(dtype)
    weight = rng.normal(size=(features, words)).astype(dtype)
    return jnp.asarray(hidden), jnp.asarray(weight), jnp.asarray(rng.integers(0, words, tokens))


@partial(jax.jit, static_argnames="options")
def chunked(at, options=()):
    """(E, gradients), and E alone."""
    return fast.value_and_gradient(*at, **dict(options)), fast.loss(*at, **dict(options))


exact = jax.jit(reference.value_and_gradient)


def assert_all_close(given, expected, rtol=1e-12, atol=1e-16):
    np.testing.assert_allclose(given[0], expected[0], rtol=rtol / 10)
    for a, b in zip(given[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


@pytest.mark.parametrize(("words", "chunk"), [(37, 7), (16, None), (1, 1), (1_003, 9)])
def test_it_equals_the_reference(words, chunk):
    """Chunks that divide the tokens and do not; slices that divide the vocabulary and do not."""
    with x64():
        given, alone = chunked(problem(words=words), (("chunk", chunk),))
        expected = exact(*problem(words=words))
        np.testing.assert_allclose([given[0], alone], 2 * [expected[0]], rtol=1e-14)
        assert_all_close(given, expected)


def test_chunks_are_no_larger_than_there_are_tokens():
    assert [fast.chunk_size(23, asked, 100) for asked in (1, 100, None)] == [1, 23, 23]
    assert fast.chunk_size(64_000, None, 100) == 4_000


@pytest.mark.parametrize("words", [100, 128_256, 151_936, 2_000_000, 10**9])
@pytest.mark.parametrize("tokens", [1, 2_049, 4_096, 10_000, 32_768, 100_001])
def test_an_accelerators_chunks_are_counted(monkeypatch, tokens, words):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    size = fast.chunk_size(tokens, None, words)
    assert size == min(tokens, size)
    assert size == tokens or size % fast.TILE == 0
    number = -(-tokens // size)
    assert number * size - tokens < number * fast.TILE  # little is padded
    assert 6 * words * (size - fast.TILE) <= fast.ROOM
    fitting = fast.ROOM // (6 * words)
    if tokens >= 2 * 4_096 and fitting >= 4_096:  # what the sums of ∂E/∂W add to the time
        assert 8 * fast.FLOPS_PER_BYTE / (6 * size) < 1.3 * fast.SHARE
        assert size <= 4_096
    assert fast.chunk_size(tokens, 7, words) == min(tokens, 7)


def test_ignored_labels_do_not_count():
    with x64():
        hidden, weight, y = problem()
        kept = np.arange(23) % 3 != 0
        marked = jnp.where(kept, y, -100)
        given = chunked((hidden, weight, marked), (("ignore", -100), ("chunk", 4)))[0]
        expected = exact(hidden[kept], weight, y[kept])
        assert not given[1][0][~kept].any()
        assert_all_close((given[0], (given[1][0][kept], given[1][1])), expected)


def test_label_smoothing_is_that_of_optax():
    def loss(hidden, weight, y):
        target = optax.smooth_labels(jax.nn.one_hot(y, 37, dtype=hidden.dtype), 0.1)
        return optax.softmax_cross_entropy(hidden @ weight, target).mean()

    with x64():
        given = chunked(problem(), (("label_smoothing", 0.1), ("chunk", 6)))[0]
        expected = jax.jit(jax.value_and_grad(loss, (0, 1)))(*problem())
        assert_all_close(given, expected, rtol=1e-11, atol=1e-15)


@pytest.mark.digits
def test_bfloat16_operands_keep_sums_in_float32():
    hidden, weight, y = problem(tokens=64, features=16, words=50, dtype=np.float32)
    low = hidden.astype(jnp.bfloat16), weight.astype(jnp.bfloat16)
    value, gradient = chunked((*low, y), (("gradient_dtype", "float32"),))[0]
    expected = exact(*(a.astype(jnp.float32) for a in low), y)[1]
    assert gradient[0].dtype == jnp.bfloat16
    assert gradient[1].dtype == jnp.float32
    error = np.abs(np.asarray(gradient[1] - expected[1])).max()
    assert error < 2**-8 * np.abs(np.asarray(expected[1])).max()
    assert np.isfinite(float(value))


@pytest.mark.digits
def test_a_certain_label_keeps_its_digits_and_a_wrong_index_is_nan():
    hidden = jnp.array([[1.0]], jnp.float32)
    weight = jnp.array([[17.0, 0.0]], jnp.float32)
    value, (_, by_weight) = chunked((hidden, weight, jnp.array([0])))[0]
    np.testing.assert_allclose(value, 4.1399374e-8, rtol=1e-6)
    np.testing.assert_allclose(by_weight, [[-4.1399374e-8, 4.1399374e-8]], rtol=1e-6)
    assert np.isnan(chunked((hidden, weight, jnp.array([2])))[0][0])


@pytest.mark.digits
def test_temporaries_do_not_grow_with_the_tokens():
    def temporaries(tokens, function=fast.value_and_gradient):
        at = (
            jax.ShapeDtypeStruct((tokens, 16), jnp.float32),
            jax.ShapeDtypeStruct((16, 4096), jnp.float32),
            jax.ShapeDtypeStruct((tokens,), jnp.int32),
        )
        program = jax.jit(lambda *a: function(*a, chunk=64)).lower(*at).compile()
        return program.memory_analysis().temp_size_in_bytes

    few, many = temporaries(512), temporaries(4096)
    assert few < 3 * 64 * 4096 * 4
    assert many - few < 2 * (4096 - 512) * 16 * 4  # the hidden states themselves, cut
    assert temporaries(512, fast.loss) < 1.5 * 64 * 4096 * 4  # one chunk of logits


def test_the_loss_drops_into_a_model():
    def through(loss):
        both = jax.value_and_grad(lambda h, w, y: 3 * loss(jnp.tanh(h), w, y), (0, 1))
        return jax.jit(both)(*problem())

    with x64():
        loss = losses.linear_softmax_cross_entropy
        expected = through(reference.loss)
        assert_all_close(through(partial(loss, chunk=8)), expected)
        np.testing.assert_allclose(
            3 * loss(jnp.tanh(problem()[0]), *problem()[1:]), expected[0], rtol=1e-13
        )


def test_tokens_split_over_an_axis_give_the_same():
    """Four shares, whose loss and ∂E/∂W are summed; on four devices it is a long proof."""
    split = partial(fast.value_and_gradient, axis_name="data", chunk=4)
    with x64():
        hidden, weight, y = problem(tokens=24)
        over = jax.jit(jax.vmap(split, (0, None, 0), axis_name="data"))
        values, (by_hidden, by_weight) = over(hidden.reshape(4, 6, -1), weight, y.reshape(4, 6))
        expected = exact(hidden, weight, y)
        for value, gradient in zip(values, by_weight, strict=True):
            assert_all_close((value, (by_hidden.reshape(24, -1), gradient)), expected)


SHARDED = """
import jax
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp, numpy as np
from functools import partial
from jax.sharding import PartitionSpec as P
from handgrad.fast import linear_cross_entropy as fast
from handgrad.gradients import linear_cross_entropy as reference
rng = np.random.default_rng(0)
at = rng.normal(size=(24, 5)), rng.normal(size=(5, 37)), rng.integers(0, 37, 24)
mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
over = jax.jit(jax.shard_map(
    partial(fast.value_and_gradient, axis_name="data", chunk=4), mesh=mesh,
    in_specs=(P("data"), P(), P("data")), out_specs=(P(), (P("data"), P())), check_vma=False))
for a, b in zip(jax.tree.leaves(over(*at)), jax.tree.leaves(reference.value_and_gradient(*at))):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-16)
"""


@pytest.mark.slow
def test_tokens_split_over_devices_give_the_same():
    subprocess.run([sys.executable, "-c", SHARDED], check=True, timeout=120)


H, W, Y = np.ones((4, 3), np.float32), np.ones((3, 2), np.float32), np.zeros(4, np.int32)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: fast.loss(H.astype(int), W, Y), "hidden"),
        (lambda: fast.loss(H[0], W, Y), "hidden"),
        (lambda: fast.loss(H[:, :2], W, Y), "hidden"),
        (lambda: fast.loss(H, W[0], Y), "weight"),
        (lambda: fast.loss(H, W, Y[:3]), "y"),
        (lambda: fast.loss(H, W, Y.astype(np.float32)), "y"),
        (lambda: fast.loss(H, W, Y, chunk=0), "chunk"),
        (lambda: fast.loss(H, W, Y, chunk=2.0), "chunk"),
        (lambda: fast.loss(H, W, Y, label_smoothing=1.0), "label_smoothing"),
        (lambda: fast.loss(H, W, Y, ignore="pad"), "ignore"),
        (lambda: fast.loss(H, W, Y, operands=np.int8), "operands"),
        (lambda: fast.loss(H, W, Y, axis_name=0), "axis_name"),
        (lambda: losses.linear_softmax_cross_entropy(H, W, Y, chunk=-1), "chunk"),
    ],
)
def test_bad_input(call, argument):
    with pytest.raises(InputError) as error:
        call()
    assert error.value.argument == argument


@pytest.mark.bad_input
def test_an_unknown_setting_is_named():
    with pytest.raises(InputError) as error:
        fast.loss(H, W, Y, chunks=2)
    assert error.value.argument == "chunks"
