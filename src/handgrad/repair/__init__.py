"""Repair: a derivative that loses digits, found anew in a form that does not, and proved."""

from handgrad.repair.api import Cost, Repair, as_text, repair

__all__ = ["Cost", "Repair", "as_text", "repair"]
