"""Every setting once: default, range, unit and help; presets; names of the layers of VGG-19."""
