"""Names of registered things: found, misspelt, ambiguous, forgotten."""

from dataclasses import dataclass

import pytest

from asr_lab.plugins import CommandSpec, DatasetSpec, ModelSpec, Registry
from asr_lab.plugins.specs import Spec, load_target
from asr_lab.utils.errors import AmbiguousNameError, UnknownNameError


def model(name: str) -> ModelSpec:
    return ModelSpec(name=name, summary="", model="m:M", config="m:C", presets=("tiny",))


def registry_with(**names: str) -> Registry:
    """Return a registry where each plugin has registered the models in its string."""
    registry = Registry()
    for plugin, models in names.items():
        with registry.registering(plugin):
            for name in models.split():
                registry.add(model(name))
    return registry


def test_a_name_is_found_short_and_qualified() -> None:
    registry = registry_with(acme="whale", other="mouse")
    assert registry.find(ModelSpec, "whale") == registry.find(ModelSpec, "acme/whale")
    assert registry.find(ModelSpec, "whale")[0] == "acme"


def test_a_misspelt_name_gets_a_suggestion_and_the_listing_command() -> None:
    with pytest.raises(UnknownNameError) as caught:
        registry_with(acme="conformer ssm").find(ModelSpec, "confomer")
    expected = "no model 'confomer'; did you mean conformer? (asr-lab models lists all)"
    assert str(caught.value) == expected


def test_a_misspelt_plugin_of_a_qualified_name_gets_a_qualified_suggestion() -> None:
    with pytest.raises(LookupError, match=r"did you mean acme/whale\?"):
        registry_with(acme="whale").find(ModelSpec, "acne/whale")


def test_a_name_far_from_all_gets_the_choices() -> None:
    with pytest.raises(LookupError, match="choose from mouse, whale"):
        registry_with(acme="whale mouse").find(ModelSpec, "zzz")


def test_a_name_of_two_plugins_is_ambiguous_only_when_it_is_used() -> None:
    registry = registry_with(acme="whale mouse", other="whale")
    assert [owner for owner, _ in registry.all(ModelSpec)] == ["acme", "acme", "other"]
    assert registry.find(ModelSpec, "mouse")[0] == "acme"
    assert registry.find(ModelSpec, "other/whale")[0] == "other"
    with pytest.raises(AmbiguousNameError, match=r"ambiguous; say acme/whale or other/whale$"):
        registry.find(ModelSpec, "whale")


def test_kinds_do_not_share_names() -> None:
    registry = registry_with(acme="whale")
    registry.add(DatasetSpec(name="whale", summary="", reader="m:read"))
    registry.add(CommandSpec(name="whale", summary="", run="m:run"))
    assert registry.find(DatasetSpec, "whale")[0] == "user"
    assert registry.find(ModelSpec, "whale")[0] == "acme"


def test_the_same_name_twice_from_one_plugin_is_refused() -> None:
    with pytest.raises(ValueError, match="plugin 'acme' registers model 'whale' twice"):
        registry_with(acme="whale whale")


@pytest.mark.parametrize("name", ["", "a/b"])
def test_a_name_is_not_empty_and_holds_no_slash(name: str) -> None:
    with pytest.raises(ValueError, match="holds no slash"):
        Registry().add(model(name))


def test_what_is_no_specification_is_refused_with_those_that_are() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Odd(Spec):
        pass

    with pytest.raises(TypeError, match="cannot register a Odd; register one of ModelSpec"):
        Registry().add(Odd(name="odd", summary=""))


def test_forgetting_a_plugin_leaves_the_others() -> None:
    registry = registry_with(acme="whale", other="whale mouse")
    registry.forget("other")
    assert registry.find(ModelSpec, "whale")[0] == "acme"
    assert registry.registered_by("other") == []
    assert registry.registered_by("acme") == ["model whale"]


def test_listing_is_sorted_by_name_then_plugin() -> None:
    registry = registry_with(zebra="b a", acme="b")
    listed = [(spec.name, owner) for owner, spec in registry.all(ModelSpec)]
    assert listed == [("a", "zebra"), ("b", "acme"), ("b", "zebra")]


def test_a_target_is_imported_when_it_is_loaded() -> None:
    assert load_target("asr_lab.plugins.registry:Registry") is Registry
    with pytest.raises(ModuleNotFoundError):
        load_target("asr_lab.nowhere:Thing")
    with pytest.raises(AttributeError):
        load_target("asr_lab.plugins.registry:Nothing")
