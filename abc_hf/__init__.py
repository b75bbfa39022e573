"""ABC-FuseNet: where a photo is blurred, what matters in it, and whether the blur is wanted."""
