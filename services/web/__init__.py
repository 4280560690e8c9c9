"""The pages: what people look at in a browser, over the store, the ledger and the HTTP API."""
