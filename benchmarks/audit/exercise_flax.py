"""Calls that reach the derivative rules of flax."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen import fp8_ops


def test_fp8():
    x = jnp.float32([[0.3, -1.2], [0.7, 0.2]])
    scale, history = jnp.ones(1), jnp.zeros(8)
    jax.jit(lambda x: fp8_ops.in_qdq(jnp.float32, jnp.float8_e4m3fn, x, scale, history))(x)
    jax.jit(lambda x: fp8_ops.out_qdq(jnp.float32, jnp.float8_e5m2, x, scale, history))(x)
    jax.jit(
        lambda x: fp8_ops.dot_general_with_precision(x, x, (((1,), (0,)), ((), ())), None, None)
    )(x)


def test_layer():
    layer = nn.Dense(3, dot_general_cls=nn.fp8_ops.Fp8DirectDotGeneralOp)
    x = jnp.ones((16, 16))
    params = layer.init(jax.random.key(0), x)
    jax.jit(jax.grad(lambda p: layer.apply(p, x).sum(), allow_int=True))(params)
