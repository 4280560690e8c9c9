"""From a name, an address or a file to a typed table."""
