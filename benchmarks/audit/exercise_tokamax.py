"""Calls that reach the derivative rules of tokamax, in its implementations for any device."""

import jax
import jax.numpy as jnp
import tokamax
from absl import flags

flags.FLAGS.mark_as_parsed()  # the command line is pytest's
KEY = jax.random.key(0)


def test_attention():
    q, k, v = (jax.random.normal(jax.random.fold_in(KEY, i), (1, 3, 2, 4)) for i in range(3))

    def attention(q, k, v):
        return tokamax.dot_product_attention(q, k, v, implementation="xla")

    jax.jit(jax.grad(lambda *qkv: attention(*qkv).sum(), (0, 1, 2)))(q, k, v)


def test_gated_linear_unit():
    x = jax.random.normal(KEY, (3, 4))
    w = jax.random.normal(KEY, (4, 2, 3))

    def call(x, w):
        return tokamax.gated_linear_unit(x, w, activation=jax.nn.swish, implementation="xla")

    jax.jit(jax.grad(lambda x, w: call(x, w).sum(), (0, 1)))(x, w)


def test_layer_norm():
    x, scale, offset = jax.random.normal(KEY, (3, 4)), jnp.full(4, 1.3), jnp.full(4, 0.2)

    def call(x, scale, offset):
        return tokamax.layer_norm(x, scale, offset, implementation="xla")

    jax.jit(jax.grad(lambda *a: call(*a).sum(), (0, 1, 2)))(x, scale, offset)


def test_ragged_dot():
    x, w = jax.random.normal(KEY, (5, 3)), jax.random.normal(KEY, (2, 3, 4))
    sizes = jnp.int32([2, 3])

    def call(x, w):
        return tokamax.ragged_dot(x, w, sizes, implementation="xla")

    jax.jit(jax.grad(lambda x, w: call(x, w).sum(), (0, 1)))(x, w)


def test_cross_entropy():
    x, w = jax.random.normal(KEY, (4, 3)), jax.random.normal(KEY, (3, 5))
    labels = jnp.int32([0, 2, 1, 4])

    def call(x, w):
        return tokamax.linear_softmax_cross_entropy_loss(x, labels, w, implementation="xla")

    jax.jit(jax.grad(lambda x, w: call(x, w).sum(), (0, 1)))(x, w)
