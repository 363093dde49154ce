"""A chat template renders the same wherever and whenever it is rendered."""

from datetime import datetime

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from qdebias.backends.hf.prompts import fixed
from qdebias.errors import BackendError, SettingError


def rendered(template: str, **arguments: str | bool | int) -> str:
    text, _ = fixed(template, arguments)
    ((made,), _) = render_jinja_template([[{"role": "user", "content": "Hello"}]], chat_template=text)
    return made


@pytest.mark.parametrize(
    "form", ["%Y-%m-%d", "%d %b %Y", "%B %d, %Y", "%A, %d %B %Y", "%H:%M:%S", "%-d %B %Y", "%d/%m/%y %I %p"]
)
def test_the_clock_stands_at_the_first_second_of_2025(form: str) -> None:
    want = datetime(2025, 1, 1).strftime(form)
    assert rendered(f"On {{{{ strftime_now('{form}') }}}}.") == f"On {want}."
    assert (
        rendered(
            f"{{% set day = strftime_now('{form}') %}}{{% for m in messages %}}{{{{ m.role + day }}}}{{% endfor %}}"
        )
        == f"user{want}"
    )
    in_macro = f"{{% macro say() %}}{{{{ strftime_now('{form}') }}}}{{% endmacro %}}{{{{ say() }}}}"
    assert rendered(in_macro) == want


def test_the_date_that_a_template_takes_as_an_argument_is_given_or_frozen() -> None:
    llama = (
        "{%- if not date_string is defined %}{%- if strftime_now is defined %}"
        "{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}"
        "{%- endif %}{{- 'Today: ' + date_string }}"
    )
    assert rendered(llama) == "Today: 01 Jan 2025"
    assert rendered(llama, date_string="02 Feb 2023") == "Today: 02 Feb 2023"


@pytest.mark.parametrize(
    "start", ["", "\n", "  ", "\n\n  {% if true %}\n  a{% endif %}", "{%- if true %}\n b{%- endif %}"]
)
def test_nothing_else_changes(start: str) -> None:
    template = start + "{{ messages[0].content }} {{ enable_thinking is defined }}{{ strftime_now('') }}\n"
    plain = template.replace("{{ strftime_now('') }}", "")
    ((want,), _) = render_jinja_template(
        [[{"role": "user", "content": "Hello"}]], chat_template=plain, enable_thinking=False
    )
    assert rendered(template) == want


def test_thoughts_are_switched_off_where_the_template_asks() -> None:
    template = "{% macro say() %}{{ enable_thinking }}{% endmacro %}{{ say() }}"
    assert rendered(template) == "False"
    assert rendered(template, enable_thinking=True) == "True"
    assert fixed(template)[1] == {"enable_thinking": False}
    assert fixed("{{ messages }}") == ("{{ messages }}", {})


@pytest.mark.parametrize(
    ("name", "value"), [("effort", 'it\'s "low" \\ é'), ("effort", 3), ("effort", 0.5), ("effort", True)]
)
def test_arguments_arrive_as_they_were_given(name: str, value: str | float | bool) -> None:
    assert rendered("{{ effort }}", **{name: value}) == str(value)


def test_argument_that_is_not_read_is_refused() -> None:
    with pytest.raises(SettingError, match="does not read the argument 'efort'; leave it out"):
        fixed("{{ effort }}", {"efort": "low"})


@pytest.mark.parametrize("template", ["{{ [1, 2] | random }}", "{{ lipsum() }}"])
def test_chance_is_refused(template: str) -> None:
    with pytest.raises(BackendError, match="draws at random"):
        fixed(template)


def test_damaged_template_is_refused() -> None:
    with pytest.raises(BackendError, match="is damaged"):
        fixed("{{ 'unfinished ")
