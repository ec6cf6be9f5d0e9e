"""Tables of the hub's database, one module per subject. Times are whole seconds since 1970, UTC."""
