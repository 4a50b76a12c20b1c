"""Importers, one file each, found by module name. See `seco.data.importing` for what one must offer."""
