"""Export: the page that hands decisions out as a file."""

from fastapi import APIRouter

router = APIRouter()
