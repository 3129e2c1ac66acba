"""The napari side: widget, worker, plot, comparison. The only package that imports napari, magicgui or Qt.

Nothing here imports torch, torchvision or matplotlib before a transfer is started.
"""
