"""handgrad: hand-derived gradients for the cross-entropy family, verified and measured."""
