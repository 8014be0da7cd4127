"""Models: a `ModelConfig` in, an `nn.Module` from images in [0, 1] to logits out, with its cost."""
