"""For machines that watch the server."""

from fastapi import APIRouter

router = APIRouter()
