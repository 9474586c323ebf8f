"""Where a model is: a directory, or a repository of the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

_PREFIXES = ("HF://", "hf://", "https://huggingface.co/")
_FILES = ("*.json", "*.jinja", "params_shard_*.bin", "tokenizer.model", "*.txt")


def resolve(model: str) -> Path:
    """Return the directory of `model`, which is one, or ``HF://ORGANIZATION/NAME``.

    A repository is downloaded into the hub's own cache (``HF_HOME``), with progress on stderr, and
    found there the next time, without a network too. Raises ValueError when there is no such model
    or it cannot be fetched.
    """
    repository = next((model[len(p) :] for p in _PREFIXES if model.startswith(p)), None)
    if repository is not None:
        return _download(repository.rstrip("/"))
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ValueError(f"{model} is a file; a model is a directory or HF://ORGANIZATION/NAME.")
    hint = ""
    if re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        hint = f" To fetch it from the hub, write HF://{model}."
    raise ValueError(f"There is no directory {model}.{hint}")


def _download(repository: str) -> Path:
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repository):
        raise ValueError(f"HF://{repository} should be HF://ORGANIZATION/NAME.")
    import huggingface_hub  # noqa: PLC0415 - slow, and only for models that are not here
    from huggingface_hub import errors  # noqa: PLC0415

    try:
        directory = huggingface_hub.snapshot_download(repository, allow_patterns=list(_FILES))
    except errors.GatedRepoError as error:
        raise ValueError(
            f"HF://{repository} asks for an account: accept its terms on the hub, then `hf auth "
            "login` or HF_TOKEN."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ValueError(
            f"The hub has no repository {repository}, or does not show it without a token."
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise ValueError(
            f"HF://{repository} is not in the cache, and the hub does not answer: check the "
            "network, HF_ENDPOINT and HF_HUB_OFFLINE."
        ) from error
    except Exception as error:  # each release's HTTP library has errors of its own
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"HF://{repository} cannot be fetched: {reason}") from error
    return Path(directory)
