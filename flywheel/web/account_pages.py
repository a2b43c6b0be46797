"""Signing in and out, the page behind a link, and one's own account."""

from fastapi import APIRouter

router = APIRouter()
