"""What `fit` returns."""

from dataclasses import dataclass

from handgrad.gradients.linear import Params


@dataclass(frozen=True)
class Optimum:
    """Where the gradient vanishes, and what it took to get there."""

    params: Params
    """float64 NumPy arrays: weight (D,) and bias (), or (D, K) and (K,)."""
    loss: float
    """E in nats, penalty included."""
    gradient_norm: float
    """max |∂E/∂w|, of the mean over the examples."""
    stopped: str
    """'tolerance'; 'separable': no optimum exists; 'rounding': E has no digits left; 'passes'."""
    passes: int
    """Passes over all the examples in float64."""
    hessians: int
    """How many of these took the Hessian too."""
    products: int
    """Products with the Hessian in float32, each two reads of at most CURVATURE_BYTES."""
    iterations: int
    """Steps taken on all the examples."""
    compile_seconds: float
    seconds: float
    """Of the run without `compile_seconds`."""

    @property
    def converged(self) -> bool:
        """Whether the gradient is within the tolerance of an optimum."""
        return self.stopped == "tolerance"

    @property
    def separable(self) -> bool:
        """Whether the loss has no minimum because some weights tell the classes apart."""
        return self.stopped == "separable"
