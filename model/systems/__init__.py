"""One file per kind of system, all behind `protocols.duplex.DuplexSystem`."""
