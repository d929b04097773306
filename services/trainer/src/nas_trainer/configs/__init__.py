"""The YAML files users name in `params_override`; a base name is enough."""
