"""Block after block of inputs: each form run on it, and its errors reduced to nine numbers.

A form is compiled alone, vectorised over many inputs, as a user's own `jax.jit` of it would be.
What measures it is another compiled function, so neither changes how XLA compiles the other.
Inputs, truth, form and measure all stay on the devices, a share of the blocks on each.

A block is 2¹⁷ neighbouring float32 numbers, 64 blocks to a power of two, so the worst errors of the
blocks are at the same time the profile of the error over the logits.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, UInt32

from handgrad._precision import x64
from handgrad.evidence.forms import Form
from handgrad.evidence.truths import Scaled, Truth, scaled

BLOCK = 2**17
ALL_BLOCKS = np.concatenate([np.arange(0x3FC0), 0x4000 + np.arange(0x3FC0)])
"""The upper 15 bits of every finite float32 number: first the positive ones, then the negative."""

SCRAMBLE = 2_654_435_761  # odd, near 2³²/φ: successive multiples of it are spread evenly

PER_CALL = {"cpu": 2**20}  # inputs a call on each device: small enough for the processor's cache
PER_CALL_ELSEWHERE = 2**25

MEASURES = (
    "max_ulp", "subnormal_max_ulp",  # of finite results; of those below 2⁻¹²⁶ that are not 0
    "nan", "inf", "wrong_sign", "zero", "subnormal_zero",  # `zero`: where the truth is normal
    "normal", "subnormal",  # how many inputs have such a truth; the rest is below 2⁻¹⁵⁰
)  # fmt: skip
MAXIMA = 2


@partial(jax.jit, static_argnums=1)
def inputs_of(blocks: UInt32[Array, "B"], count: int) -> Float[Array, "B count"]:
    """`count` numbers of each block: its first, then evenly apart, shifted from block to block."""
    stride = np.uint32(BLOCK // count)
    shift = blocks * np.uint32(SCRAMBLE) % stride
    within = lax.iota(jnp.uint32, count)[None, :] * stride
    within = within + jnp.where(within > 0, shift[:, None], np.uint32(0))
    bits = blocks[:, None] * np.uint32(BLOCK) + within
    return lax.bitcast_convert_type(bits, jnp.float32)


scaled_truth = jax.jit(scaled, static_argnums=0)


@jax.jit
def measure(y: Float[Array, "B count"], truth: Scaled) -> Int[Array, "measures B"]:
    """The `MEASURES` of each block, in one pass; the maxima as the bits of a float32.

    The bits of non-negative floats are ordered as the floats are, and whole numbers may be reduced
    in any order, so XLA vectorises this where it would walk through a maximum of floats.
    """
    relative = y * truth.scale
    ulp = jnp.abs(relative - truth.high - truth.low) * np.float32(2**23)
    ulp = jnp.minimum(ulp, jnp.finfo(jnp.float32).max)
    ulp = jnp.where(jnp.isfinite(y), lax.bitcast_convert_type(ulp, jnp.int32), 0)
    normal = truth.high >= 1
    subnormal = ~normal & (truth.high >= np.float32(2.0**-24))
    zero = relative == 0
    columns = (
        jnp.where(normal, ulp, 0),
        jnp.where(normal | zero, 0, ulp),
        jnp.isnan(y),
        jnp.isinf(y),
        relative < 0,
        normal & zero,
        subnormal & zero,
        normal,
        subnormal,
    )

    def combine(a: tuple, b: tuple) -> tuple:
        pairs = list(zip(a, b, strict=True))
        return (*(jnp.maximum(*p) for p in pairs[:MAXIMA]), *(p + q for p, q in pairs[MAXIMA:]))

    return jnp.stack(
        lax.reduce(
            tuple(column.astype(jnp.int32) for column in columns),
            (np.int32(0),) * len(columns), combine, (1,),
        )
    )  # fmt: skip


class Laboratory:
    """Compiled forms, and the devices that they run on; `sample` inputs of each block, or all."""

    def __init__(self, forms: Sequence[Form], sample: int = BLOCK):
        self.forms = tuple(forms)
        self.count = sample
        self.compiled = [jax.jit(form.function) for form in self.forms]
        devices = jax.devices()
        mesh = Mesh(np.array(devices), ("blocks",), axis_types=(AxisType.Auto,))
        self.sharding = NamedSharding(mesh, PartitionSpec("blocks"))
        per_call = PER_CALL.get(devices[0].platform, PER_CALL_ELSEWHERE)
        self.blocks_per_call = max(1, per_call // self.count) * len(devices)

    def inputs(self, blocks: np.ndarray) -> Float[Array, "B count"]:
        """The inputs of these blocks and, to fill the call, of the last one again."""
        filled = np.full(self.blocks_per_call, blocks[-1], np.uint32)
        filled[: len(blocks)] = blocks
        return inputs_of(jax.device_put(filled, self.sharding), self.count)

    def measures(self, blocks: np.ndarray) -> Iterator[tuple[int, list[np.ndarray]]]:
        """(how many blocks, their measures for each form), call after call."""
        pending: tuple[int, list[Array]] | None = None
        for start in range(0, len(blocks), self.blocks_per_call):
            part = blocks[start : start + self.blocks_per_call]
            z, truths, found = self.inputs(part), dict[Truth, Scaled](), []
            for form, function in zip(self.forms, self.compiled, strict=True):
                truth = form.target.truth
                if truth not in truths:
                    with x64():
                        truths[truth] = scaled_truth(truth, z)
                found.append(measure(function(z), truths[truth]))
            if pending:
                yield fetched(*pending)
            pending = len(part), found
        if pending:
            yield fetched(*pending)

    def examine(self, form: Form, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs of one block, what the form computes there, and the truth in float64."""
        z = self.inputs(np.array([block]))
        y = self.compiled[self.forms.index(form)](z)
        with x64():
            truth = scaled_truth(form.target.truth, z)
        scale, high, low = (np.asarray(part[0], np.float64) for part in truth)
        return np.asarray(z[0]), np.asarray(y[0]), (high + low) / scale


def fetched(blocks: int, found: list[Array]) -> tuple[int, list[np.ndarray]]:
    """Wait for the devices, and drop what filled the call."""
    return blocks, [np.asarray(array)[:, :blocks] for array in found]
