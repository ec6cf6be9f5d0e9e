"""The platform over HTTP: routers only; what they do lies beside this package."""
