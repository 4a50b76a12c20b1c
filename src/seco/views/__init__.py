"""See: which views of a place a method wants, and how they are made in batches on the device that trains."""
