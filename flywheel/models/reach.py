"""Whether a generative judge's model is to be had, looked at without making or loading anything.

`[judges.NAME]` in, one sentence out, with what to do where it is not.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from flywheel.errors import BadSetting
from flywheel.models import smollm2
from flywheel.models.endpoint import OPENAI_URL, check_client, key_of
from flywheel.safety import visible
from flywheel.settings import GenerativeSettings

# A server that answers later than this is said to be silent.
TIMEOUT_S = 3.0
# Of those that a server says it has, so many are named.
_NAMED = 5


class _Listed(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Listed]


@dataclass(frozen=True, slots=True)
class Reach:
    """What was found; `remedy` is empty where the judge can work."""

    sentence: str
    remedy: str = ""


def reach(name: str, settings: GenerativeSettings) -> Reach:
    """Look for the model: its folder or its server."""
    if not settings.model:
        return Reach("it names no model", f"set judges.{name}.model")
    if settings.kind == "local":
        return _local(name, settings)
    return _server(name, settings)


def _local(name: str, settings: GenerativeSettings) -> Reach:
    model = settings.model
    if model in (smollm2.NAME, f"{smollm2.ORGANISATION}/{smollm2.NAME}"):
        if smollm2.is_prepared():
            return Reach(f"{model} in {smollm2.prepared_folder()}")
    elif Path(model).is_dir():
        if any(Path(model).glob("*.safetensors")):
            return Reach(f"the model in {model}")
        return Reach(f"{model} has no .safetensors weights", "save the model as safetensors")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Reach(f"{model} in {snapshot_download(model, local_files_only=True)}")
    except LocalEntryNotFoundError:
        return Reach(f"{model} is taken from the model hub on first use")
    except HFValidationError:
        return Reach(f"{model} is no folder and no name of a hub", f"correct judges.{name}.model")


def _server(name: str, settings: GenerativeSettings) -> Reach:
    """Ask the server which models it has."""
    try:
        key = key_of(name, settings)
        check_client(name)
    except BadSetting as error:
        return Reach(str(error), "then look again")
    import openai

    url = settings.base_url or OPENAI_URL
    where = openai.OpenAI(api_key=key, base_url=url, timeout=TIMEOUT_S, max_retries=0)
    host = where.base_url.host
    try:
        with where as client:
            listed = client.models.with_raw_response.list().http_response.text
            known = [model.id for model in _Models.model_validate_json(listed).data]
    except openai.APITimeoutError:
        return Reach(f"{host} said nothing for {TIMEOUT_S:g} s", "look at the server")
    except openai.APIConnectionError as error:
        why = type(error.__cause__ or error).__name__
        return Reach(f"{host} cannot be reached: {why}", "start the server, or correct base_url")
    except (openai.AuthenticationError, openai.PermissionDeniedError):
        remedy = f"put a key that holds into {settings.api_key_env}"
        return Reach(f"{host} does not take the key", remedy)
    except ValidationError:
        return Reach(f"{host} answers, and not as OpenAI's API does", "end base_url with /v1")
    except openai.APIStatusError as error:
        # Not every server lists its models.
        return Reach(f"{settings.model} at {host}, which answers {error.status_code} to a list")
    if settings.model in known or not known:
        return Reach(f"{settings.model} at {host}")
    named = visible(", ".join(sorted(known)[:_NAMED]))
    return Reach(
        f"{host} lists no model {settings.model}; it has {named}", f"correct judges.{name}.model"
    )
