"""The widget "Enhance Session"."""
