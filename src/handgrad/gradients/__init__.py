"""The mathematics: values beside hand-derived gradients, in `jax.numpy` alone."""
