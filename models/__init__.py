"""Pure mathematics: arrays in, arrays out. Nothing here reads a file, opens a connection or knows of a cluster."""
