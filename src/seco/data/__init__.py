"""Keep: the dataset format, its writer and reader, and importers (one file each in `importers`)."""
