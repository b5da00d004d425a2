"""The wire models: they travel as JSON and come back, and neighbouring versions can talk."""

from __future__ import annotations

import inspect
import re

import msgspec
import pytest

from xwhep.common import wire, wire_bulk
from xwhep.common.wire import FINAL_STATES, Job, JobState, Lease, Machine, Model, WorkRequest

MODELS = [
    model
    for model in {**vars(wire), **vars(wire_bulk)}.values()
    if inspect.isclass(model) and issubclass(model, Model) and model is not Model
]
SAMPLES = {
    str: "text",
    int: 1,
    float: 1.5,
    bool: False,
    JobState: JobState.RUNNING,
    bytes: b"\x00x",
    bool | None: True,
    list[str]: ["a"],
    list[bytes]: [b"\x00x"],
    dict[str, str]: {"a": "b"},
    dict[str, int]: {"a": 1},
}


def sample(model: type) -> object:
    """One with every field filled."""
    return model(**{field.name: filled(field.type) for field in msgspec.structs.fields(model)})


def filled(kind: object) -> object:
    if kind in SAMPLES:
        return SAMPLES[kind]
    inner = getattr(kind, "__args__", (kind,))[0]
    if inner is kind:
        return sample(inner)
    return [filled(inner)] if getattr(kind, "__origin__", None) is list else filled(inner)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_travels_and_comes_back(model):
    full = sample(model)
    assert msgspec.json.decode(msgspec.json.encode(full), type=model) == full


@pytest.mark.parametrize("model", MODELS)
def test_fields_of_a_newer_version_are_ignored(model):
    fields = msgspec.json.decode(msgspec.json.encode(sample(model)))
    assert msgspec.json.decode(msgspec.json.encode({**fields, "of_the_future": [1]}), type=model) == sample(model)


@pytest.mark.parametrize("model", MODELS)
def test_models_cannot_be_changed(model):
    full = sample(model)
    with pytest.raises(AttributeError):
        setattr(full, model.__struct_fields__[0], "other")


def test_defaults_do_not_travel():
    assert msgspec.json.decode(msgspec.json.encode(WorkRequest(machine=sample(Machine)))).keys() == {"machine"}


def test_final_states_are_final_in_the_docs_too():
    source = inspect.getsource(JobState)
    documented = set(re.findall(r'= "(\w+)"  # final:', source))
    assert documented == {state.value for state in FINAL_STATES}


@pytest.mark.parametrize(
    ("text", "field"), [(b'{"id": 1}', "id"), (b"{}", "app"), (b'{"id": "j", "owner": "o", "state": "odd"}', "state")]
)
def test_a_wrong_field_is_named(text, field):
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.json.decode(text, type=Job)


def test_two_leases_share_no_default_list():
    first, second = (
        Lease(job_id="j", attempt=1, until=0, heartbeat_s=1, app="a"),
        Lease(job_id="k", attempt=1, until=0, heartbeat_s=1, app="a"),
    )
    assert first.args is not second.args
