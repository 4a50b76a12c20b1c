"""WHERE: cities, the land mask, seeded samplers, and rasters that label a place (land cover, climate)."""
