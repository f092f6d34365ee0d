"""A bank: recorded defects as memory-mapped arrays, opened in milliseconds and shared by all workers."""

from defect_synth.compositor.bank.bank import INDEX, Bank, Entry
from defect_synth.compositor.bank.build import build_bank, record, require_buildable
from defect_synth.compositor.bank.row import appearance

__all__ = ["INDEX", "Bank", "Entry", "appearance", "build_bank", "record", "require_buildable"]
