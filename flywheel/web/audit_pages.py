"""The audit log as a page and as a file."""

from fastapi import APIRouter

router = APIRouter()
