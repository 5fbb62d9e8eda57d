"""`ddim-jax serve`: a page and a REST endpoint that segment what is sent to them. Needs the extra `serve`."""
