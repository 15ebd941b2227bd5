"""What a data-parallel step costs on paper: reading or multiplying, then one all-reduce.

P devices hold N/P rows each. A step reads its rows, multiplies them twice (z = x W, then xᵀ r),
takes losses and residuals from the logits, and adds up the loss and the gradient, S bytes, over all
devices:

    t = overhead + max(read, multiply) + logits + all-reduce
    read       = s D B/P / bandwidth           B rows a step: N for a full batch; a batch is picked
    multiply   = 4 D K B/P / peak              2 D² B/P more for a Hessian of two classes
    logits     = K B/P / logits a second
    all-reduce = min(ring, tree)
    ring       = 2 (P−1) (latency + S/(P link))
    tree       = 2 ⌈log₂ P⌉ (latency + S/link)

All but the last shrink with P, that one grows: where they meet, more devices stop paying.

Source: the bytes and flops are those of `fast.one_pass`; the two all-reduces are the textbook's.
"""

import math
from dataclasses import dataclass

from handgrad.errors import InputError


@dataclass(frozen=True)
class Machine:
    """One device and its connection to the others: bytes, flops and seconds, measured or quoted."""

    read: float
    """Bytes of x a second that a step on rows in their order gets through."""
    gather: float
    """The same for rows picked one by one, as a batch is."""
    multiply: float
    """Flops a second in the dtype of the rows, as a step reaches them."""
    logits: float
    """Logits a second that become a loss and a residual."""
    memory: float
    """Bytes."""
    link: float
    """Bytes a second from one device to another."""
    latency: float
    """Seconds for a message of no length."""
    overhead: float = 0.0
    """Seconds to start a step."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (0 <= value < math.inf and (value or name in ("latency", "overhead"))):
                raise InputError(name, "a finite number above 0", repr(value), "measure it")


@dataclass(frozen=True)
class Work:
    """What a step does, however many devices share it."""

    examples: int
    """N, kept in memory."""
    features: int
    """D."""
    outputs: int = 1
    """K, or 1 for one logit."""
    batch: int | None = None
    """B, the examples of a step; None for all N."""
    itemsize: int = 4
    """s, bytes of a number."""
    copies: int = 2
    """Of the parameters: themselves and their gradient; Adam keeps two more."""
    hessian: bool = False
    """Whether the step takes the Hessian of a binary model too, as Newton does."""

    @property
    def parameters(self) -> int:
        """(D+1) K."""
        return (self.features + 1) * self.outputs

    @property
    def reduced_bytes(self) -> int:
        """S: the loss and the gradient, and the Hessian where it is taken; N is not in it."""
        numbers = 1 + self.parameters + (self.parameters**2 if self.hessian else 0)
        return numbers * self.itemsize


@dataclass(frozen=True)
class StepCost:
    """The terms of one step, in seconds, and the bytes that a device must hold."""

    overhead: float
    read: float
    multiply: float
    logits: float
    reduce: float
    memory: float

    @property
    def seconds(self) -> float:
        """The whole step: reading and multiplying overlap, the others wait."""
        return self.overhead + max(self.read, self.multiply) + self.logits + self.reduce

    @property
    def limit(self) -> str:
        """The term that the step spends most of its time in."""
        terms = ("overhead", "read", "multiply", "logits", "reduce")
        return max(terms, key=lambda term: getattr(self, term))


def all_reduce(size: float, devices: int, machine: Machine) -> float:
    """Seconds for the sum of `size` bytes over `devices`: the ring's or the tree's, the less.

    >>> machine = Machine(1e12, 1e12, 1e13, logits=1e11, memory=1e11, link=1e9, latency=1e-6)
    >>> [round(1e6 * all_reduce(size, 256, machine)) for size in (4, 4_000, 40_000_000)]
    [16, 80, 80198]
    """
    if devices == 1:
        return 0.0
    ring = 2 * (devices - 1) * (machine.latency + size / (devices * machine.link))
    tree = 2 * math.ceil(math.log2(devices)) * (machine.latency + size / machine.link)
    return min(ring, tree)


def step(work: Work, machine: Machine, devices: int = 1) -> StepCost:
    """What one step of `work` costs on `devices` machines of one kind.

    >>> machine = Machine(1e12, 1e12, 1e13, logits=1e11, memory=1e11, link=1e9, latency=1e-6)
    >>> one, many = (step(Work(10**9, 100), machine, devices) for devices in (1, 256))
    >>> round(one.seconds, 3), round(many.seconds, 6), one.memory > machine.memory > many.memory
    (0.41, 0.001624, True)
    """
    if devices < 1:
        raise InputError("devices", "a whole number above 0", repr(devices), "pass 1")
    rows = (work.batch or work.examples) / devices
    flops = 4 * work.features * work.outputs + (2 * work.features**2 if work.hessian else 0)
    held = work.examples / devices * (work.features * work.itemsize + 4)
    return StepCost(
        overhead=machine.overhead,
        read=rows
        * work.features
        * work.itemsize
        / (machine.gather if work.batch else machine.read),
        multiply=rows * flops / machine.multiply,
        logits=rows * work.outputs / machine.logits,
        reduce=all_reduce(work.reduced_bytes, devices, machine),
        memory=held + work.copies * work.parameters * work.itemsize,
    )
