"""From a request to a finished run, for each way of inference."""
