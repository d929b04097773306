"""The services of protos/nas/v1 over the use cases."""
