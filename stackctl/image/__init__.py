"""References, the content store, layers, the built-in image and storage drivers."""
