"""The commands: arguments in, one call into the package, a line and an exit status out."""
