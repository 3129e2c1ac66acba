"""The public names: there, documented, and what scripts rely on."""

import inspect
from importlib.metadata import version

import pytest

import napari_nst
from napari_nst import errors


@pytest.mark.parametrize("name", sorted(set(napari_nst.__all__) - {"__version__"}))
def test_every_public_name_is_there_and_documented(name):
    found = getattr(napari_nst, name)
    assert found is getattr(napari_nst, name)
    assert len(inspect.getdoc(found)) > 20
    assert name in dir(napari_nst)


def test_the_documented_names_are_public():
    promised = {"transfer_style", "StyleTransferParameters", "NST", "NSTPipelineManager", "VGG", "ImageFile"}
    assert promised | {"pad_to_square", "unpad_from_square"} <= set(napari_nst.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        napari_nst.nothing  # noqa: B018


def test_the_version_is_that_of_the_package():
    assert napari_nst.__version__ == version("napari-nst")


def test_every_error_is_one_of_ours_and_no_runtime_error():
    for name in errors.__all__:
        found = getattr(errors, name)
        if issubclass(found, Warning):
            assert found is errors.StyleTransferWarning
        else:
            assert issubclass(found, errors.StyleTransferError)
            assert not issubclass(found, RuntimeError | OSError)


def test_a_divergence_carries_its_step_and_what_was_reached():
    error = errors.DivergenceError("too fast", 3, "a image")
    assert (str(error), error.step, error.partial) == ("too fast", 3, "a image")


@pytest.mark.parametrize("name", ["transfer_style", "transfer_steps", "save_transfer", "arguments_from"])
def test_functions_state_their_types(name):
    signature = inspect.signature(getattr(napari_nst, name))
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())
