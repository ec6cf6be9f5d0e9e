"""Credit models: schema and bins, tables, scorecard, encoder, privacy accounting, artefact."""
