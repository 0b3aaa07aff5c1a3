"""The command line: one thin file per command. Each parses, builds options, calls one function, prints."""
