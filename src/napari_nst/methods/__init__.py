"""The ways to enhance an image, behind one interface."""
