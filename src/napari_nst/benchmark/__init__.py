"""What this machine does: the time of an iteration against the time that its arithmetic alone takes."""
