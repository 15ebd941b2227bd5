"""The same formulas shaped for hardware: each names the gradient, loop or optimum it must equal."""
