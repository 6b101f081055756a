/** Shell completion scripts, generated from the table. */
import { optionsOf, positionalsOf } from './arguments.js';
import type { Command, Parameter } from './command.js';

export type Shell = 'bash' | 'zsh' | 'fish';

export function completionScript(shell: Shell, commands: readonly Command[]): string {
  switch (shell) {
    case 'bash':
      return bash(commands);
    case 'zsh':
      return zsh(commands);
    case 'fish':
      return fish(commands);
  }
}

interface Choice {
  readonly text: string;
  readonly about: string;
}

/** Possible words after what was typed, ignoring options and their values. */
interface Place {
  readonly typed: string;
  readonly words: readonly Choice[];
  readonly options: readonly Choice[];
}

function placesOf(commands: readonly Command[]): Place[] {
  const groups = [...new Set(commands.flatMap(({ name }) => (name.includes(' ') ? [name.split(' ')[0]!] : [])))];
  const first = commands.filter(({ name }) => !name.includes(' ')).map(choiceOf);
  const places: Place[] = [
    { typed: '', words: [...first, ...groups.map((text) => ({ text, about: `${text} …` }))], options: [] },
    ...groups.map((group) => ({
      typed: group,
      words: commands
        .filter(({ name }) => name.startsWith(`${group} `))
        .map((command) => ({ ...choiceOf(command), text: command.name.slice(group.length + 1) })),
      options: [],
    })),
  ];
  for (const command of commands) {
    const options = Object.entries(optionsOf(command)).map(([name, { description }]) => ({
      text: `--${name}`,
      about: description,
    }));
    const words = positionalsOf(command).flatMap(([, { choices = [] }]) =>
      choices.map((text) => ({ text, about: '' })),
    );
    places.push({ typed: command.name, words, options });
  }
  return places;
}

const choiceOf = ({ name, summary }: Command): Choice => ({ text: name, about: summary });

/** Options with a value, and its kind of file. */
function valuedOptions(
  commands: readonly Command[],
): { readonly name: string; readonly names: 'file' | 'folder' | '' }[] {
  const all: Record<string, Parameter> = Object.assign({}, ...commands.map(optionsOf));
  return Object.entries(all)
    .filter(([, { type }]) => type !== 'flag')
    .map(([name]) => ({ name: `--${name}`, names: name === 'config' ? 'file' : name === 'data' ? 'folder' : '' }));
}

function bash(commands: readonly Command[]): string {
  const valued = valuedOptions(commands);
  const cases = placesOf(commands).map(({ typed, words, options }) => {
    const texts = [...words, ...options].map(({ text }) => text).join(' ');
    return `    '${typed}'${options.length > 0 ? `|'${typed} '*` : ''}) choices='${texts}' ;;`;
  });
  const values = valued.map(
    ({ name, names }) =>
      `    ${name}) ${names === '' ? '' : `COMPREPLY=($(compgen -${names === 'file' ? 'f' : 'd'} -- "$current")); `}return ;;`,
  );
  return `# Completion of waxwing for bash.
_waxwing() {
  local current=\${COMP_WORDS[COMP_CWORD]} typed='' choices='' skip='' word
  COMPREPLY=()
  case \${COMP_WORDS[COMP_CWORD-1]} in
${values.join('\n')}
  esac
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    if [[ -n $skip ]]; then skip=''; continue; fi
    case $word in
      ${valued.map(({ name }) => name).join('|')}) skip=1 ;;
      -*) ;;
      *) typed+="\${typed:+ }$word" ;;
    esac
  done
  case $typed in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$choices" -- "$current"))
}
complete -F _waxwing waxwing
`;
}

function zsh(commands: readonly Command[]): string {
  const valued = valuedOptions(commands);
  const quote = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
  const entry = ({ text, about }: Choice) => quote(about === '' ? text : `${text}:${about}`);
  const cases = placesOf(commands).map(({ typed, words, options }) => {
    const pattern = options.length > 0 ? `${quote(typed)}|${quote(`${typed} `)}*` : quote(typed);
    return `    ${pattern})
      words_here=(${words.map(entry).join(' ')})
      options_here=(${options.map(entry).join(' ')}) ;;`;
  });
  const values = valued.map(
    ({ name, names }) => `    ${name}) ${names === '' ? '' : names === 'file' ? '_files; ' : '_files -/; '}return ;;`,
  );
  return `#compdef waxwing
# Completion of waxwing for zsh.
_waxwing() {
  local typed='' skip='' word
  local -a words_here options_here
  case $words[CURRENT-1] in
${values.join('\n')}
  esac
  for word in \${words[2,CURRENT-1]}; do
    if [[ -n $skip ]]; then skip=''; continue; fi
    case $word in
      ${valued.map(({ name }) => name).join('|')}) skip=1 ;;
      -*) ;;
      *) typed+="\${typed:+ }$word" ;;
    esac
  done
  case $typed in
${cases.join('\n')}
  esac
  (( $#words_here )) && _describe 'command' words_here
  (( $#options_here )) && _describe -o 'option' options_here
}
if [[ $funcstack[1] == _waxwing ]]; then _waxwing "$@"; else compdef _waxwing waxwing; fi
`;
}

function fish(commands: readonly Command[]): string {
  const quote = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const valued = valuedOptions(commands);
  const isValued = (option: string) => valued.some(({ name }) => name === option);
  const lines = placesOf(commands).flatMap(({ typed, words, options }) => [
    ...words.map(
      ({ text, about }) =>
        `complete -c waxwing -f -n ${quote(`__waxwing_typed ${options.length > 0 ? 'begins' : 'is'} ${quote(typed)}`)} -a ${quote(text)} -d ${quote(about)}`,
    ),
    ...options.map(({ text, about }) => {
      const value = isValued(text) ? (text === '--config' || text === '--data' ? ' -r -F' : ' -x') : '';
      return `complete -c waxwing -n ${quote(`__waxwing_typed begins ${quote(typed)}`)} -l ${text.slice(2)}${value} -d ${quote(about)}`;
    }),
  ]);
  return `# Completion of waxwing for fish.
function __waxwing_typed
  set -l typed
  set -l skip
  for word in (commandline -opc)[2..-1]
    if test -n "$skip"
      set skip
      continue
    end
    switch $word
      case ${valued.map(({ name }) => name).join(' ')}
        set skip 1
      case '-*'
      case '*'
        set -a typed $word
    end
  end
  test "$typed" = "$argv[2]"; and return 0
  test $argv[1] = begins; and string match -q -- "$argv[2] *" "$typed"
end
complete -c waxwing -f
${lines.join('\n')}
`;
}
