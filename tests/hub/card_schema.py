"""The documented metadata of cards on the Hub: hub-docs' modelcard.md, datasetcard.md and spaces-config-reference.md.

`problems(kind, readme)` says in sentences what the documents do not allow. The server checks a push in the same way, by
rules of its own that are not published as code; this holds what is written of them.
"""

import re

import yaml
from huggingface_hub import SpaceHardware

LICENSES = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m afl-3.0
artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0
cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0
cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0
epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0
odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr unknown other
""".split()
TASKS = """
image-classification image-segmentation depth-estimation object-detection image-to-image image-feature-extraction
mask-generation zero-shot-image-classification other
""".split()
"""Of vision; the whole list is longer."""
SIZES = """
n<1K 1K<n<10K 10K<n<100K 100K<n<1M 1M<n<10M 10M<n<100M 100M<n<1B 1B<n<10B 10B<n<100B 100B<n<1T n>1T other
""".split()
CREATORS = "found crowdsourced expert-generated machine-generated no-annotation other".split()
COLORS = "red yellow green blue indigo purple pink gray".split()
LICENSE_KEYS = {"license", "license_name", "license_link", "license_details"}
KEYS = {
    "model": LICENSE_KEYS
    | {"language", "library_name", "pipeline_tag", "tags", "datasets", "metrics", "base_model", "model-index"},
    "dataset": LICENSE_KEYS
    | {"language", "tags", "annotations_creators", "language_creators", "pretty_name", "size_categories"}
    | {"source_datasets", "task_categories", "task_ids", "paperswithcode_id", "configs", "dataset_info"},
    "space": {"title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "app_port"}
    | {"suggested_hardware", "fullWidth", "header", "models", "datasets", "tags", "pinned", "license"}
    | {"short_description", "thumbnail", "hf_oauth", "preload_from_hub", "disable_embedding"}
    | {"startup_duration_timeout", "custom_headers"},
}
REPO = re.compile(r"[\w.-]+(/[\w.-]+)?")
DTYPES = {"image", "string", "int32", "int64", "float32", "float64", "bool"}


BENCHMARK = {"name": str, "description": str, "evaluation_framework": str, "tasks": list}
"""The keys of eval.yaml, by eval-results.md of hub-docs."""


def eval_problems(path: str, text: str) -> list[str]:
    """What is wrong with eval.yaml of a data set, or with a file of `.eval_results` of a model."""
    data = yaml.safe_load(text)
    if path == "eval.yaml":
        wrong = [f"{key} is wrong" for key, kind in BENCHMARK.items() if not isinstance(data.get(key), kind)]
        wrong += [f"the task {each}" for each in data["tasks"] if each.keys() != {"id", "config", "split"}]
        return wrong + [f"{key} is no key of eval.yaml" for key in data.keys() - BENCHMARK]
    wrong = []
    for entry in data:
        wrong += (
            [] if {"dataset", "value"} <= entry.keys() <= {"dataset", "value", "source", "date", "notes"} else [entry]
        )
        wrong += [] if entry["dataset"].keys() == {"id", "task_id"} and entry["source"]["url"] else [entry["dataset"]]
        wrong += [] if isinstance(entry["value"], float) else [f"the value {entry['value']!r}"]
    return wrong


def as_list(value) -> list:
    return value if isinstance(value, list) else [value]


def problems(kind: str, readme: str) -> list[str]:
    """What is wrong with the YAML of a card, in sentences."""
    found = re.match(r"---\n(.*?)\n---", readme, re.DOTALL)
    if not found:
        return ["there is no YAML block at the top"]
    try:
        data = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        return [f"the YAML cannot be read ({error})"]
    wrong = [f"{key} is no key of a {kind} card" for key in data.keys() - KEYS[kind]]
    wrong += check_license(data)
    wrong += [f"tag {tag!r} is not text" for tag in as_list(data.get("tags", [])) if not isinstance(tag, str)]
    return wrong + {"model": check_model, "dataset": check_dataset, "space": check_space}[kind](data)


def check_license(data: dict) -> list[str]:
    names = as_list(data.get("license", []))
    wrong = [f"license {name!r} is none of the Hub's" for name in names if name not in LICENSES]
    if "other" in names and not {"license_name", "license_link"} <= data.keys():
        wrong.append("license other needs license_name and license_link")
    if not re.fullmatch(r"[a-z0-9.-]*", str(data.get("license_name", ""))):
        wrong.append("license_name must be an identifier, like my-license-1.0")
    return wrong


def check_model(data: dict) -> list[str]:
    wrong = []
    if "pipeline_tag" in data and data["pipeline_tag"] not in TASKS:
        wrong.append(f"pipeline_tag {data['pipeline_tag']!r} is no task")
    for name in [*data.get("datasets", []), *data.get("metrics", [])]:
        if not REPO.fullmatch(name):
            wrong.append(f"{name!r} is no identifier")
    for model in data.get("model-index", []):
        if not model.get("name") or not model.get("results"):
            wrong.append("model-index needs a name and results")
        for result in model.get("results", []):
            if result["task"].keys() - {"type", "name"} or result["task"].get("type") not in TASKS:
                wrong.append(f"the task {result['task']} of a result")
            allowed = {"type", "name", "config", "split", "revision", "args"}
            if not {"type", "name"} <= result["dataset"].keys() <= allowed:
                wrong.append(f"the dataset {result['dataset']} of a result")
            elif not REPO.fullmatch(result["dataset"]["type"]):
                wrong.append(f"the dataset type {result['dataset']['type']!r} is no identifier")
            for metric in result.get("metrics") or [{}]:
                if not {"type", "value"} <= metric.keys() <= {"type", "value", "name", "config", "args", "verified"}:
                    wrong.append(f"the metric {metric} of a result")
                elif not isinstance(metric["value"], int | float):
                    wrong.append(f"the value {metric['value']!r} is no number")
    return wrong


def check_dataset(data: dict) -> list[str]:
    wrong = []
    for key, allowed in (("size_categories", SIZES), ("annotations_creators", CREATORS), ("task_categories", TASKS)):
        wrong += [f"{key}: {value!r}" for value in as_list(data.get(key, [])) if value not in allowed]
    names = []
    for config in data.get("configs", []):
        names.append(config.get("config_name"))
        if not config.get("data_files") or config.keys() - {"config_name", "data_files", "default"}:
            wrong.append(f"the configuration {config}")
        for files in config.get("data_files", []):
            if files.keys() != {"split", "path"} or not re.fullmatch(r"\w+", files["split"]):
                wrong.append(f"the data files {files}")
    for info in as_list(data.get("dataset_info", [])):
        if info.get("config_name", "default") not in names:
            wrong.append(f"dataset_info is of {info.get('config_name', 'default')}, which is no configuration")
        for feature in info["features"]:
            dtype = feature["dtype"] if "dtype" in feature else feature.get("list")  # of a list, that of its items
            known = dtype.keys() <= {"class_label", "image"} if isinstance(dtype, dict) else dtype in DTYPES
            if not known:
                wrong.append(f"the feature {feature}")
        for split in info["splits"]:
            if split.keys() != {"name", "num_bytes", "num_examples"}:
                wrong.append(f"the split {split}")
    return wrong


def check_space(data: dict) -> list[str]:
    wrong = [f"{key} is needed" for key in ("title", "sdk", "app_file") if not data.get(key)]
    if data.get("sdk") not in ("gradio", "docker", "static"):
        wrong.append(f"sdk {data.get('sdk')!r}")
    wrong += [f"{key}: {data[key]!r}" for key in ("colorFrom", "colorTo") if data.get(key, "red") not in COLORS]
    for key in ("sdk_version", "python_version"):
        if not re.fullmatch(r"\d+(\.\d+)+", str(data.get(key, "1.0"))) or not isinstance(data.get(key, ""), str):
            wrong.append(f"{key}: {data[key]!r} is no version in quotes")
    if data.get("suggested_hardware", "cpu-basic") not in [*SpaceHardware]:
        wrong.append(f"suggested_hardware: {data['suggested_hardware']!r}")
    if len(data.get("short_description", "")) > 60:
        wrong.append("short_description is longer than 60 characters")
    if re.search(r"[\w\s]", data.get("emoji", "")):
        wrong.append("emoji holds more than an emoji")
    wrong += [f"{name!r} is no identifier" for name in data.get("models", []) if not REPO.fullmatch(name)]
    return wrong
