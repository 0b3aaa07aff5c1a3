"""Pools of blur kernels: estimated from photographs, drawn from a formula, or imported from other programs."""
