"""`watch`: what changes here is carried into the containers, as develop.watch says."""
