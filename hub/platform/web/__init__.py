"""The platform's pages: one module for each group of people, on the layer that all pages share (`models.web`)."""
