"""Translations between the use cases and the world: gRPC, SQL, files, clocks."""
