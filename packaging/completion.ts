/** Completions of `sluice` for bash, zsh and fish, from its command line. */
import { type CommandText, type OptionText, walk } from './command-line.ts';

/** Does the value name a file? */
const isFile = (usage: string): boolean => /file|path|dir|folder|policy|cases/i.test(usage);
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
/** The first line, and not too much of it: it stands beside what is offered. */
const short = (text: string): string => text.split('\n')[0]!.slice(0, 90);
const below = (words: readonly string[]): string => words.slice(1).join(' ');

const HEAD = '# Made from the command line of sluice when its package was built.\n';

/** @param words of the line so far decide which command is meant; `run` hands over to what it runs. */
export function bash(program: CommandText): string {
  const cases = walk(program).map(({ words, command }) => {
    const options = command.options.flatMap(({ names }) => names).join(' ');
    const subs = command.commands.map(({ name }) => name).join(' ');
    const values = command.options.flatMap(({ names, value }) => (value.startsWith('<') ? names : []));
    const offers = command.options.filter(({ choices }) => choices.length > 0);
    return [
      `    ${quoted(below(words))})`,
      `      options=${quoted(options)} commands=${quoted(subs)} valued=${quoted(` ${values.join(' ')} `)}`,
      ...(offers.length === 0
        ? []
        : [
            `      case $previous in`,
            ...offers.map(
              ({ names, choices }) => `        ${names.join('|')}) choices=${quoted(choices.join(' '))} ;;`,
            ),
            '      esac',
          ]),
      '      ;;',
    ].join('\n');
  });
  return `${HEAD}
# Sets options, commands, valued and choices for the command in $1, with the word $2 before the one that is completed.
_sluice_offers() {
  local previous=$2
  options='' commands='' valued='' choices=''
  case $1 in
${cases.join('\n')}
  esac
}

_sluice() {
  local at='' options commands valued choices word i wants='' word_now=\${COMP_WORDS[COMP_CWORD]}
  _sluice_offers '' ''
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ -n $wants ]]; then
      wants=''
    elif [[ $at == run && ( $word == -- || $word != -* ) ]]; then
      [[ $word != -- ]] || ((i++))
      if declare -F _command_offset >/dev/null; then
        _command_offset "$i"
      elif ((i == COMP_CWORD)); then
        mapfile -t COMPREPLY < <(compgen -c -- "$word_now")
      else
        mapfile -t COMPREPLY < <(compgen -f -- "$word_now")
      fi
      return
    elif [[ $word == -* ]]; then
      [[ $valued != *" $word "* ]] || wants=$word
    elif [[ " $commands " == *" $word "* ]]; then
      at="\${at:+$at }$word"
      _sluice_offers "$at" ''
    fi
  done
  _sluice_offers "$at" "\${COMP_WORDS[COMP_CWORD - 1]}"
  if [[ -n $wants ]]; then
    if [[ -n $choices ]]; then
      mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word_now")
    else
      mapfile -t COMPREPLY < <(compgen -f -- "$word_now")
    fi
  elif [[ $word_now == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word_now")
  elif [[ -n $commands ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word_now")
  elif [[ $at == run ]]; then
    mapfile -t COMPREPLY < <(compgen -c -- "$word_now")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$word_now")
  fi
}
complete -o filenames -o bashdefault -F _sluice sluice
`;
}

const zshText = (text: string): string => short(text).replace(/[[\]:\\]/g, (letter) => `\\${letter}`);

function zshOption({ names, value, text, choices }: OptionText): string {
  const many = /repeat/.test(text) ? '*' : '';
  const action = choices.length > 0 ? `(${choices.join(' ')})` : isFile(value) ? '_files' : ' ';
  const takes = value.startsWith('<') ? `:${zshText(value.replace(/[<>]/g, ''))}:${action}` : '';
  const exclusive = many === '' && names.length > 1 ? `(${names.join(' ')})` : '';
  const head = quoted(`${exclusive}${many}`);
  const body = quoted(`[${zshText(text)}]${takes}`);
  return names.map((name) => `${head}${name}${body}`).join(' ');
}

export function zsh(program: CommandText): string {
  const functions = walk(program).map(({ words, command }) => {
    const name = `_${words.join('_').replaceAll('-', '_')}`;
    const options = command.options.map((option) => `    ${zshOption(option)} \\`);
    if (command.commands.length === 0) {
      const files = command.args.some(({ usage }) => isFile(usage));
      const rest = command.runs ? `'*:::command:_normal'` : files ? `'*:file:_files'` : `'*: :'`;
      return [`${name}() {`, '  _arguments -s \\', ...options, `    ${rest}`, '}'].join('\n');
    }
    return [
      `${name}() {`,
      '  local state line',
      '  local -a commands=(',
      ...command.commands.map((sub) => `    ${quoted(`${sub.name}:${short(sub.text).replaceAll(':', '\\:')}`)}`),
      '  )',
      '  _arguments -C -s \\',
      ...options,
      `    '1: :->command' '*:: :->rest'`,
      '  case $state in',
      '    command) _describe -t commands command commands ;;',
      `    rest) (( $+functions[${name}_\${line[1]//-/_}] )) && ${name}_\${line[1]//-/_} ;;`,
      '  esac',
      '}',
    ].join('\n');
  });
  return `#compdef sluice\n${HEAD}\n${functions.join('\n\n')}\n\n_sluice "$@"\n`;
}

export function fish(program: CommandText): string {
  const all = walk(program);
  const lines = all.flatMap(({ words, command }) => {
    const here = `-n ${quoted(`__sluice_at ${quoted(below(words)).replaceAll("'", '"')}`)}`;
    const subs = command.commands.map(
      ({ name, text }) => `complete -c sluice -f ${here} -a ${name} -d ${fishText(text)}`,
    );
    const options = command.options.map(({ names, value, text, choices }) => {
      const flags = names
        .map((name) => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`))
        .join(' ');
      const takes = !value.startsWith('<')
        ? ''
        : choices.length > 0
          ? ` -x -a ${quoted(choices.join(' '))}`
          : isFile(value)
            ? ' -r -F'
            : ' -x';
      return `complete -c sluice ${here} ${flags}${takes} -d ${fishText(text)}`;
    });
    const rest = command.runs
      ? [`complete -c sluice ${here} -x -a '(__fish_complete_subcommand --fcs-skip=2)'`]
      : command.commands.length === 0 && !command.args.some(({ usage }) => isFile(usage))
        ? [`complete -c sluice -f ${here}`]
        : [];
    return [...subs, ...options, ...rest];
  });
  const known = all.map(({ words }) => quoted(below(words))).join(' ');
  return `${HEAD}
# Is the command that is being written the one in the argument?
function __sluice_at
    set -l at
    set -l known ${known}
    for word in (commandline -opc)[2..]
        string match -q -- '-*' $word; and continue
        set -l next (string join ' ' $at $word)
        contains -- "$next" $known; or continue
        set at $at $word
    end
    test "$argv" = "$at"
end

${lines.join('\n')}
`;
}

const fishText = (text: string): string => `'${short(text).replace(/[\\']/g, (letter) => `\\${letter}`)}'`;
