"""Numerics that must be right: one public function each, its definition beside its fast form."""
