import pytest

from partswap import errors


@pytest.mark.parametrize(
    ("name", "code"),
    [("PartswapError", 1), ("ImageError", 1), ("UsageError", 2), ("DeviceError", 2), ("ModelError", 3)],
)
def test_every_error_is_of_the_one_tree_and_has_its_exit_code(name: str, code: int) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, errors.PartswapError)
    assert kind.exit_code == kind("a sentence").exit_code == code
    assert str(kind("a sentence")) == "a sentence"
