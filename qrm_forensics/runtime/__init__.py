"""What has to happen while a quantized model runs: its description, and its execution in transformers."""
