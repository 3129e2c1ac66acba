"""The documented classes (NST Pipeline Documentation), on top of the engine."""
