"""What each subcommand does: flags from the settings of the room it calls, then the call. Heavy imports stay inside."""
