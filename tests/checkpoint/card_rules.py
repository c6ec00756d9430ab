"""The rules of the hub's card validation, as its documentation tells them: errors in a card's metadata."""

from __future__ import annotations

from typing import Any

import yaml

_LICENSES = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m openrail++ bsd bsd-2-clause bsd-3-clause
bsd-3-clause-clear ms-pl apple-ascl c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0
cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0
wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1
lgpl-3.0 isc h-research intel-research lppl-1.3c mpl-2.0 odc-by odbl openmdw-1.0 osl-3.0 postgresql ofl-1.1
ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license llama2 llama3 gemma unknown other
"""
LICENSES = set(_LICENSES.split())
TASKS = {"image-segmentation", "image-classification", "image-to-image", "mask-generation", "other"}


def card_errors(content: str) -> list[str]:
    """What is wrong with the card, one sentence each."""
    lines = content.splitlines()
    if not lines or lines[0] != "---" or "---" not in lines[1:]:
        return ["the card has no metadata"]
    try:
        data = yaml.safe_load("\n".join(lines[1 : lines.index("---", 1)]))
    except yaml.YAMLError as error:
        return [f"the metadata is no YAML: {error}"]
    if not isinstance(data, dict):
        return ["the metadata must be an object"]
    errors = []
    if "license" in data and data["license"] not in LICENSES:
        errors.append(f'"license" must be one of the known licences, not {data["license"]}')
    if "pipeline_tag" in data and data["pipeline_tag"] not in TASKS:
        errors.append(f'"pipeline_tag" must be a known task, not {data["pipeline_tag"]}')
    if not all(isinstance(tag, str) for tag in data.get("tags", [])):
        errors.append('"tags" must be a list of strings')
    if not isinstance(data.get("library_name", ""), str):
        errors.append('"library_name" must be a string')
    return errors + _index_errors(data.get("model-index", []))


def _index_errors(index: Any) -> list[str]:
    """The schema of `model-index`; with it, every result needs task.type, dataset.type and .name, metrics."""
    if not isinstance(index, list):
        return ['"model-index" must be a list']
    errors = []
    for number, model in enumerate(index):
        where = f'"model-index[{number}]'
        if not isinstance(model.get("name"), str):
            errors.append(f'{where}.name" is required')
        if not isinstance(model.get("results"), list):
            errors.append(f'{where}.results" must be a list')
            continue
        for result in model["results"]:
            for part, keys in (("task", ["type"]), ("dataset", ["type", "name"])):
                errors += [
                    f'{where}.results.{part}.{key}" is required'
                    for key in keys
                    if not isinstance(result.get(part, {}).get(key), str)
                ]
            for metric in result.get("metrics") or [{}]:
                if not isinstance(metric.get("type"), str) or "value" not in metric:
                    errors.append(f'{where}.results.metrics" need type and value')
    return errors
