"""The Khronos validation layer, for processes that tests start."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LAYER = "VK_LAYER_KHRONOS_validation"


def validation(folder: Path) -> tuple[dict[str, str], Path]:
    """Return the environment in which the layer watches, and the log that it makes in `folder`.

    It watches synchronization too, so that no dispatches overlap: they are ordered by what it does
    not know. Without the layer there will be no log.
    """
    log = folder / "validation.txt"
    settings = folder / "vk_layer_settings.txt"
    settings.write_text(
        f"khronos_validation.log_filename = {log}\n"
        "khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG\n"
        "khronos_validation.report_flags = error,warn,perf\n"
        "khronos_validation.enables = "
        "VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT\n",
        encoding="utf-8",
    )
    variables = {
        "VK_INSTANCE_LAYERS": _LAYER,
        "VK_LAYER_SETTINGS_PATH": str(settings),
        "MLC_LLM_VULKAN_HIDE": "overlapping-dispatches",
    }
    return variables, log
