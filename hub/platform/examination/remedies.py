"""What to do about stored state that was altered, where a backup is what helps."""

from __future__ import annotations

from models.said import said

RESTORE = said("stop the platform and keep the database; restore the newest backup, and compare it with this one")
