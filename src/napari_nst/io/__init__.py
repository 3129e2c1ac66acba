"""Files: images, their names, tables of coordinates; everything is written beside and renamed."""
