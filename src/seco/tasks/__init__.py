"""Tasks that judge an encoder, one file each, found by module name (seco.probes.evaluation)."""
