"""`xw completion SHELL`: scripts made from the catalogue and each command's own parser."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from xwhep.client.catalogue import CATALOGUE
from xwhep.client.parser import Command, build, load

SHELLS = ("bash", "zsh", "fish")


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS)


def _run(args: Namespace) -> int:
    words = _words()
    print(_fish(words) if args.shell == "fish" else _bash(words, zsh=args.shell == "zsh"))  # noqa: T201
    return 0


def _words() -> dict[str, list[str]]:
    """What may come next, by what was typed: {"": ["app", ...], "app": ["list", ...], "app list": ["--format"]}"""
    table: dict[str, list[str]] = {"": []}
    for entry in CATALOGUE:
        parts = entry.words.split()
        for depth, part in enumerate(parts):
            following = table.setdefault(" ".join(parts[:depth]), [])
            if part not in following:
                following.append(part)
        table[entry.words] = _options(build(entry, load(entry)))
    return table


def _options(parser: ArgumentParser) -> list[str]:
    return [option for option in parser._option_string_actions if option.startswith("--")]


def _bash(words: dict[str, list[str]], zsh: bool) -> str:
    """As many of the typed words as name a command decide what may come next; the others are its arguments."""
    return "\n".join(
        [
            *(["autoload -Uz bashcompinit && bashcompinit"] if zsh else []),
            "_xw_next() {",
            '  case "$1" in',
            *(f'    "{line}") words="{" ".join(following)}" ;;' for line, following in words.items()),
            "    *) return 1 ;;",
            "  esac",
            "}",
            "_xw() {",
            '  local words="" line="" depth',
            '  _xw_next ""',
            "  for ((depth = 1; depth < COMP_CWORD; depth++)); do",
            '    _xw_next "${line:+$line }${COMP_WORDS[depth]}" || break',
            '    line="${line:+$line }${COMP_WORDS[depth]}"',
            "  done",
            '  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))',
            "}",
            "complete -o default -F _xw xw",
        ]
    )


def _fish(words: dict[str, list[str]]) -> str:
    lines = ["complete -c xw -f"]
    for line, following in words.items():
        seen = (
            f"test (commandline -opc | string match -v -- '-*' | string join ' ') = '{' '.join(['xw', *line.split()])}'"
        )
        lines += [f'complete -c xw -n "{seen}" -a "{word}"' for word in following if not word.startswith("--")]
        lines += [f'complete -c xw -n "{seen}" -l {word[2:]} -F' for word in following if word.startswith("--")]
    return "\n".join(lines)


COMPLETION = Command(_configure, _run, "xw completion bash > ~/.local/share/bash-completion/completions/xw")
