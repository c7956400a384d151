"""Training (the extra ``training``). Never imported for inference."""
