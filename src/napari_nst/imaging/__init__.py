"""Arithmetic on images: arrays in, arrays out.  Importing it loads neither torch nor matplotlib."""
