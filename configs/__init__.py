"""What a run is: the typed schema, its loader, and the presets beside it as YAML. No torch."""
