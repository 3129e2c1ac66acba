"""The command ``napari-nst``: one module for each subcommand."""
