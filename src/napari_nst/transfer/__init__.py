"""One style transfer, from arrays to a result with its losses, record and files."""
