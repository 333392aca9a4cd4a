"""Renders templates with jinja2 the way transformers does, and writes chat_templates.json.

    python3 chat_templates.py > chat_templates.json
"""

import json
import sys

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    """`{% generation %}` renders what is in it."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}

TALK = [
    {"role": "system", "content": " Be brief. "},
    {"role": "user", "content": "Is 1 < 2 & 'x' != \"y\"?\n"},
    {"role": "assistant", "content": "<think>hm</think>Yes, 😀."},
    {"role": "user", "content": "Why?"},
]

TEMPLATES = {
    "blocks on lines of their own": """{{ bos_token }}
{% for message in messages %}
    {% if message.role == 'user' %}
[{{ message.content }}]
    {% elif message['role'] == 'assistant' %}
 {{ message.content }}{{ eos_token }}
    {%- else -%}
        ({{ message.content | trim }})
    {% endif %}
{% endfor %}
{# a comment #}
end
""",
    "system message taken out": """{%- if messages[0]['role'] == 'system' -%}
{%- set system = messages[0]['content'].strip() -%}
{%- set rest = messages[1:] -%}
{%- else -%}{%- set system = none -%}{%- set rest = messages -%}{%- endif -%}
{%- for m in rest -%}
{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{- raise_exception('roles must alternate user/assistant/...') -}}
{%- endif -%}
{%- if m.role == 'user' -%}
{%- if loop.first and system is not none -%}{%- set content = '<<' ~ system ~ '>>' + m.content -%}
{%- else -%}{%- set content = m.content -%}{%- endif -%}
{{ bos_token + '[I] ' + content.strip() + ' [/I]' }}
{%- else -%}{{ ' ' + m.content.strip() + ' ' + eos_token }}{%- endif -%}
{%- endfor -%}""",
    "namespace, reverse, split": """{%- set ns = namespace(last=0, found=false) %}
{%- for m in messages[::-1] %}
{%- if not ns.found and m.role == 'user' %}{% set ns.last = (messages|length - 1) - loop.index0 %}{% set ns.found = true %}{% endif %}
{%- endfor %}
{%- for m in messages %}
{%- if '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip('\\n') }}|
{%- elif m.content.startswith(' ') and m.content.endswith(' ') %}{{ m.content.rstrip() }}|
{%- else %}{{ loop.index }}{{ '*' if loop.index0 == ns.last else '-' }}{{ m.role.upper() }}|
{%- endif %}
{%- endfor %}""",
    "tojson": """{{ messages | tojson }}
{{ messages[1].content | tojson(indent=2) }}
{{ {'b': [1, true, none], 'a': {}, 'é': 'é'} | tojson(indent=4) }}
{{ {'b': 1, 'a': 'é'} | tojson(sort_keys=true, ensure_ascii=true, separators=(',', ':')) }}""",
    "macro, loop controls, generation": """{% macro head(role) %}<|{{ role }}|>{% endmacro %}
{% for m in messages %}
{% if loop.last %}{% break %}{% endif %}
{% if m.role == 'system' %}{% continue %}{% endif %}
{{ head(m.role) }}
{%- if m.role == 'assistant' %}
{% generation %}
{{ m.content }}
{%- endgeneration -%}
{% else %}{{ m.content }}{% endif %}
{% endfor %}
{% if add_generation_prompt %}{{ head('assistant') }}{% endif %}""",
    "what is undefined or none": """{%- if tools is not none and tools %}tools{% endif -%}
{%- if tools is defined %}T{% endif %}{% if documents is none %}D{% endif %}
{%- if date_string is not defined %}U{% endif %}[{{ nothing }}]
{%- if messages[0].tool_calls is defined or messages[0].get('tool_calls') %}calls{% endif -%}
{{ messages[0].name | default('nobody') }}{{ pad_token | default('no pad', true) }}""",
    "python's spelling of values": """{{ true }} {{ none }} {{ 1.0 }} {{ 7 // 2 }} {{ messages[0].x }} {{ [1, 'a', false] }} {{ 'a' ~ true }} {{ 'x' if false }}.""",
    "refuses": """{{ raise_exception('Only user, got ' + messages[0].role + '!') }}""",
    "keeps text": "a  \n\n  {{ messages[3].content }}  \n b\n\n",
}


def main():
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    cases = []
    for name, template in TEMPLATES.items():
        case = {"name": name, "template": template}
        try:
            case["text"] = environment.from_string(template).render(
                messages=TALK, tools=None, documents=None, add_generation_prompt=True, **SPECIAL
            )
        except jinja2.exceptions.TemplateError as error:
            case["error"] = str(error)
        cases.append(case)
    golden = {
        "about": "chat templates rendered as transformers renders them; made by chat_templates.py",
        "rendered_by": f"jinja2 {jinja2.__version__}",
        "special_tokens": SPECIAL,
        "messages": TALK,
        "cases": cases,
    }
    json.dump(golden, sys.stdout, indent=1, ensure_ascii=False)
    print()


main()
