"""The judge: who is right about a gradient, and how well it behaves in floating point."""

from handgrad.verify.agreement import Agreement, LeafAgreement, agree

__all__ = ["Agreement", "LeafAgreement", "agree"]
