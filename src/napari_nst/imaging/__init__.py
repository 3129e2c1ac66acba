"""Arithmetic on images: arrays in, arrays out.  Importing it loads neither torch, cv2 nor matplotlib."""
