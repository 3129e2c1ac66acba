"""Audits of an enhancer: what in its results comes from the style, or from noise, instead of from the target."""
