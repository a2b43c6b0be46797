"""Settings: people, links, keys and queues."""

from fastapi import APIRouter

router = APIRouter()
