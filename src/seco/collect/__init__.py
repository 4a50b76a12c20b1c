"""FETCH: search catalogues, plan seasons, read pixels, keep the ledger."""
