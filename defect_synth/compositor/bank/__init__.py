"""A bank: recorded defects as memory-mapped arrays, opened in milliseconds and shared by all workers."""

from defect_synth.compositor.bank.bank import Bank, Entry
from defect_synth.compositor.bank.build import bank_from_samples, build_bank, require_buildable
from defect_synth.compositor.bank.reading import INDEX
from defect_synth.compositor.bank.row import appearance

__all__ = ["INDEX", "Bank", "Entry", "appearance", "bank_from_samples", "build_bank", "require_buildable"]
