"""The API's description, made of what stands on its handlers: OpenAPI 3.1.0."""
