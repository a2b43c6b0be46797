"""Quality: the pages that show how good the answers, the judge and the reviewers are."""

from fastapi import APIRouter

router = APIRouter()
