"""The Two Small platform (两小创业通): merchants, products, financings and the programme, on a database of its own."""
