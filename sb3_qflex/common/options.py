"""Options of algorithms and policies: where each one lives, what it may be, and when an assignment takes effect."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sb3_qflex.common import validation

#: Raises for a bad value, given the owner of the option, its name and the value.
Check = Callable[[Any, str, Any], object]
#: Key of the instance dict that says that the options were checked once; assignments are checked from then on.
IN_USE = "_options_in_use"


class Option:
    """
    An attribute that is checked at construction, at load, and whenever it is assigned later; it acts from then on.

    It lives in the instance dict, where SB3's ``save`` finds it. ``load`` fills that dict past all checks, and other
    options may be missing while a constructor runs, so both end with :func:`check_options`.

    :param check: Raises for a bad value
    :param changed: What to do after an assignment where something is derived from the value; gets the owner and the
        previous value
    """

    name: str

    def __init__(self, check: Check, changed: Callable[[Any, Any], object] | None = None):
        self.check = check
        self.changed = changed

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, owner: Any, _: type | None = None) -> Any:
        if owner is None:
            return self
        try:
            return vars(owner)[self.name]
        except KeyError:
            raise AttributeError(f"{type(owner).__name__} has no attribute {self.name!r}") from None

    def __set__(self, owner: Any, value: Any) -> None:
        if not vars(owner).get(IN_USE, False):
            vars(owner)[self.name] = value
            return
        self.check(owner, self.name, value)
        previous = vars(owner).get(self.name)
        vars(owner)[self.name] = value
        if self.changed is not None:
            self.changed(owner, previous)


class PolicyOption(Option):
    """An option of an algorithm whose home is its policy, which acts with it and checks it."""

    def __init__(self) -> None:
        super().__init__(lambda owner, name, value: None)

    def __get__(self, owner: Any, _: type | None = None) -> Any:
        policy = None if owner is None else vars(owner).get("policy")
        return super().__get__(owner) if policy is None else getattr(policy, self.name)

    def __set__(self, owner: Any, value: Any) -> None:
        policy = vars(owner).get("policy")
        if policy is not None:
            setattr(policy, self.name, value)
        # What save writes; before there is a policy, what it is built with.
        vars(owner)[self.name] = value


def options_of(cls: type, kind: type[Option] = Option) -> dict[str, Option]:
    """
    :param cls: An algorithm or policy
    :param kind: Which options
    :return: By name, those of base classes first
    """
    found = (one for base in reversed(cls.__mro__) for one in vars(base).values() if isinstance(one, kind))
    return {one.name: one for one in found}


def check_options(owner: Any) -> None:
    """
    Check all options of a model or policy, now and from now on at each assignment.

    :param owner: Whose attributes are set
    :raises ValueError: For a value out of range
    """
    for name, one in options_of(type(owner)).items():
        one.check(owner, name, getattr(owner, name))
    vars(owner)[IN_USE] = True


# Declared with the type of the value, which is what an instance has. They return Any for that.


def option(check: Check, changed: Callable[[Any, Any], object] | None = None) -> Any:
    """
    :param check: See :class:`Option`
    :param changed: See :class:`Option`
    """
    return Option(check, changed)


def count(minimum: int = 1, changed: Callable[[Any, Any], object] | None = None) -> Any:
    """
    :param minimum: Of an option that is an integer
    :param changed: See :class:`Option`
    """
    return Option(lambda _, name, value: validation.check_count(name, value, minimum), changed)


def number(
    minimum: float = 0.0,
    maximum: float = float("inf"),
    above: bool = False,
    optional: bool = False,
    changed: Callable[[Any, Any], object] | None = None,
) -> Any:
    """
    :param minimum: Of an option that is a number
    :param maximum: Likewise
    :param above: Whether the minimum itself is not allowed
    :param optional: Whether it may be None
    :param changed: See :class:`Option`
    """

    def check(_: Any, name: str, value: Any) -> None:
        if not (optional and value is None):
            validation.check_number(name, value, minimum, maximum, above)

    return Option(check, changed)


def choice(allowed: Iterable[str], changed: Callable[[Any, Any], object] | None = None) -> Any:
    """
    :param allowed: Values of an option that is a word
    :param changed: See :class:`Option`
    """
    return Option(lambda _, name, value: validation.check_choice(name, value, allowed), changed)


def flag(changed: Callable[[Any, Any], object] | None = None) -> Any:
    """
    Of an option that is True or False.

    :param changed: See :class:`Option`
    """
    return Option(lambda _, name, value: validation.check_flag(name, value), changed)


def coefficient(changed: Callable[[Any, Any], object] | None = None) -> Any:
    """
    Of an option that is a number or, where it is learned, "auto" or "auto_" with its start.

    :param changed: See :class:`Option`
    """
    return Option(lambda _, name, value: validation.check_coefficient(name, value), changed)


def preset(presets: Mapping[str, Any]) -> Any:
    """
    Whose settings the arguments of the constructor have that were left open; it cannot change later, as by then none is
    open.

    :param presets: By their names, what they stand for
    """

    def check(owner: Any, name: str, value: Any) -> None:
        validation.check_choice(name, value, presets)
        if vars(owner).get(IN_USE, False) and value != vars(owner)[name]:
            raise ValueError(
                f"{name}={value!r} would change nothing: presets fill in arguments of the constructor. Assign the "
                "options that it stands for, or make a new model."
            )

    return Option(check)


def of_policy() -> Any:
    """See :class:`PolicyOption`."""
    return PolicyOption()


def of_preset(presets: Mapping[str, Mapping[str, Any]], preset: str) -> dict[str, Any]:
    """
    :param presets: By their names, values of all arguments that a preset decides
    :param preset: One of the names
    :return: Its values
    :raises ValueError: For an unknown preset
    """
    validation.check_choice("preset", preset, presets)
    return dict(presets[preset])


def with_preset(presets: Mapping[str, Mapping[str, Any]], preset: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """
    Arguments of which those that were left at None are a preset's.

    :param presets: By their names, values of all arguments that a preset decides
    :param preset: One of the names
    :param given: What the user gave for these arguments; None for what the preset decides
    :return: Values of all of them
    :raises ValueError: For an unknown preset
    """
    values = of_preset(presets, preset)
    return {name: values[name] if value is None else value for name, value in given.items()}
