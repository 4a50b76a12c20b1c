"""Writers of other layouts, one file each; found by name (seco.data.exporting)."""
