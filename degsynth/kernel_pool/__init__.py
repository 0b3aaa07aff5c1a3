"""Pools of blur kernels: estimated from photographs, generated, imported; as files, as pictures, as models."""
