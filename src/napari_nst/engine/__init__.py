"""The mathematics of style transfer: tensors in, tensors out.

This package knows no file, no folder and no screen.  Importing it does not import torch: the modules that need torch
take it from :mod:`napari_nst.engine._torch`, where one guard protects processes that draw with OpenGL.
"""
