"""A bare FastAPI application that gives back what it got: the yardstick, with the gateway's own body and one worker."""

from __future__ import annotations

import argparse

import uvicorn
from fastapi import FastAPI

from nodes.gateway import ScoreInput

app = FastAPI()


@app.post("/score")
async def echo(body: ScoreInput) -> ScoreInput:
    """Parse, and give back."""
    return body


def main() -> None:
    """Serve on loopback until terminated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    uvicorn.run(app, host="127.0.0.1", port=parser.parse_args().port, access_log=False, log_config=None)


if __name__ == "__main__":
    main()
