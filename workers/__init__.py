"""The only place that knows both the web and the engine: claims stages, runs them, records what they report."""
