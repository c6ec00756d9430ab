"""`partswap doctor`: what is installed, what is wrong, and the mend."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from partswap.cli.options import DeviceOption, JsonOption, ModelOption

if TYPE_CHECKING:
    from partswap.diagnosis import Diagnosis

__all__ = ["doctor_command"]


def doctor_command(
    model: ModelOption = None, device: DeviceOption = "auto", as_json: JsonOption = False
) -> None:
    """Tell versions, devices and ONNX providers, try the model, and say what is wrong, with the mend.

    Exit 0 if partswap is usable, 3 if the model cannot be loaded, 1 if something else is in the way.
    """
    from partswap.diagnosis import diagnose

    report = diagnose(model, device)
    if as_json:
        print(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
    else:
        _print(report)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _print(report: Diagnosis) -> None:
    sections: dict[str, Mapping[str, Any]] = {
        "system": report.system,
        "versions": report.versions,
        "onnx runtime": report.onnx,
        "model": report.model,
    }
    for title, values in sections.items():
        print(title)
        for name, value in values.items():
            print(f"  {name:<24}{'not installed' if value is None else value}")
    print("devices\n  " + "\n  ".join(report.devices or ["none"]))
    print("onnx providers\n  " + "\n  ".join(report.providers or ["none"]))
    for title, sentences in (("notes", report.notes), ("problems", report.problems)):
        if sentences:
            print(title + "".join(f"\n  - {sentence}" for sentence in sentences))
    print("partswap is usable" if report.exit_code == 0 else "partswap is not usable; see the problems above")
