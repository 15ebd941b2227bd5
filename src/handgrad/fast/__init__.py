"""The same formulas shaped for hardware; each file names the gradient or optimum it must equal."""
