"""One sweep's learners compared: figures, sentences, charts and documents."""
