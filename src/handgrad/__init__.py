"""handgrad: hand-derived gradients for the cross-entropy family, verified, trained with and measured."""
