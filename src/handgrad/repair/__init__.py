"""Repair: a derivative that loses digits, found anew in a form that does not, and proved."""

from handgrad.repair.api import Cost, Measured, Repair, as_data, as_text, measured, repair

__all__ = ["Cost", "Measured", "Repair", "as_data", "as_text", "measured", "repair"]
