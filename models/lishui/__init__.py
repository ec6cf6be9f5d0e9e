"""Synthetic merchants in the likeness of Lishui's: people of nine counties with small shops and inns all over China."""
