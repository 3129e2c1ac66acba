"""The widget "Style Transfer"."""
