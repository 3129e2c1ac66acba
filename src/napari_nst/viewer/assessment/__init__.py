"""The widget "Assessment"."""
