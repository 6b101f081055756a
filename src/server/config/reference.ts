/** Generates the configuration reference from the schemas: `conf/reference.toml` and `docs/configuration.md`. */
import { z } from 'zod';
import { completeSchema, defaultFiles, type ModuleSettings } from './load.js';
import type { KeyPath } from './positions.js';
import { childOf, entriesOf, formatKey, formatPath, isTable, keysOf, type Schema, unwrap } from './shape.js';
import { formatQuantity, type Quantity } from './units.js';

export interface Reference {
  /** Every key with its default and description. Loading it equals the defaults. */
  readonly toml: string;
  /** The same as a Markdown page. */
  readonly markdown: string;
}

/** A table of the configuration with its own keys. Its subtables follow it. */
interface Section {
  readonly path: KeyPath;
  readonly description: string;
  readonly keys: readonly Key[];
  /** Not part of the defaults: the table is an example. */
  readonly isExample: boolean;
}

interface Key {
  readonly name: string;
  readonly description: string;
  /** As TOML. Undefined if the key has no default, or its table has free keys. */
  readonly value: string | undefined;
  /** An example value, if the default does not show one. */
  readonly example: string | undefined;
  readonly isLive: boolean;
}

/** `modules` must list all modules: each gets a table in the reference. */
export function configReference(modules: readonly ModuleSettings[]): Reference {
  const schema = completeSchema([...modules].sort((a, b) => (a.name < b.name ? -1 : 1)));
  const sections = sectionsOf(schema, schema.parse({}), [], false).map((section) => ({
    ...section,
    description: section.description + specificationsOf(section, modules),
  }));
  return { toml: tomlOf(sections), markdown: markdownOf(sections) };
}

function specificationsOf({ path }: Section, modules: readonly ModuleSettings[]): string {
  const module = path[0] === 'modules' && path.length === 2 ? modules.find(({ name }) => name === path[1]) : undefined;
  const names = Object.keys(module?.implements ?? {});
  return names.length === 0 ? '' : ` (${names.join(', ')})`;
}

function sectionsOf(
  schema: Schema,
  value: unknown,
  path: KeyPath,
  isLive: boolean,
  above = '',
  isExample = false,
): Section[] {
  const { meta } = unwrap(schema);
  const description = meta.description ?? above;
  const below = isLive || meta.live === true;
  const entries = entriesOf(schema);
  if (entries !== undefined && isTableSchema(entries) && meta.example !== undefined && isEmptyTable(value))
    return sectionsOf(entries, z.parse(entries, {}), [...path, meta.example], below, description, true);
  const parts: readonly (readonly [string, Schema, unknown])[] = isTable(value)
    ? Object.keys({ ...keysOf(schema), ...value }).map((name) => [name, childOf(schema, name)!, value[name]])
    : [];
  const tables = parts.filter(([, part]) => isTableSchema(part));
  const keys = parts
    .filter(([, part]) => !isTableSchema(part))
    .map(([name, part, held]) => keyOf(name, part, held, below));
  if (entries !== undefined && !isTableSchema(entries)) {
    keys.push({ ...keyOf('NAME', entries, undefined, below), example: meta.example ?? unwrap(entries).meta.example });
  }
  const own: Section[] = keys.length > 0 || path.length === 2 ? [{ path, description, keys, isExample }] : [];
  return [
    ...own,
    ...tables.flatMap(([name, part, held]) => sectionsOf(part, held, [...path, name], below, description, isExample)),
  ];
}

const isEmptyTable = (value: unknown): boolean => isTable(value) && Object.keys(value).length === 0;

function isTableSchema(schema: Schema): boolean {
  return keysOf(schema) !== undefined || entriesOf(schema) !== undefined;
}

function keyOf(name: string, schema: Schema, value: unknown, isLive: boolean): Key {
  const { meta } = unwrap(schema);
  const isEmpty = value === undefined || value === '' || (Array.isArray(value) && value.length === 0);
  return {
    name,
    description: [meta.description ?? '', boundsOf(schema), meta.path === 'data' ? 'Relative to the data folder' : '']
      .filter((sentence) => sentence !== '')
      .map((sentence) => (/[.!?)]$/.test(sentence) ? sentence : `${sentence}.`))
      .join(' '),
    value: value === undefined ? undefined : tomlValue(value, meta.quantity),
    example: isEmpty ? meta.example : undefined,
    isLive: isLive || meta.live === true,
  };
}

function boundsOf(schema: Schema): string {
  const { core, meta } = unwrap(schema);
  if (meta.quantity !== undefined) {
    const { unit, min, max, unlimited } = meta.quantity;
    const parts = [
      min > 1 ? `at least ${formatQuantity(min, unit)}` : '',
      max < Number.MAX_SAFE_INTEGER && !(unit === 'seconds') ? `at most ${formatQuantity(max, unit)}` : '',
      unlimited ? 'may be "unlimited"' : '',
    ];
    return capital(parts.filter((part) => part !== '').join(', '));
  }
  const options = optionsOf(core);
  const lead = core instanceof z.ZodArray ? 'Any of' : 'One of';
  return options.length === 0 ? '' : `${lead} ${options.map((option) => JSON.stringify(option)).join(', ')}`;
}

function optionsOf(schema: Schema): readonly unknown[] {
  const { def } = (unwrap(schema).core as z.core.$ZodTypes)._zod;
  if (def.type === 'enum') return Object.values(def.entries);
  return def.type === 'array' ? optionsOf(def.element) : [];
}

function tomlValue(value: unknown, quantity: Quantity | undefined): string {
  if (typeof value === 'number' && quantity !== undefined) {
    const text = formatQuantity(value, quantity.unit);
    return /^\d+$/.test(text) ? text : JSON.stringify(text);
  }
  if (Array.isArray(value)) return `[${value.map((entry) => tomlValue(entry, undefined)).join(', ')}]`;
  return value === Infinity ? 'inf' : JSON.stringify(value);
}

// ---------------------------------------------------------------------------------------------------------------
// TOML

const introduction = `Waxwing: every key of the configuration, with its default.

This file is generated from the schemas (npm run docs). It is equivalent to an empty file: copy only what you change. Keys \
marked "live" are applied by \`waxwing reload\`, the others need a restart. Amounts are numbers in bytes or seconds, or text \
with a unit: "64 KiB", "10 MB", "500 ms", "5 minutes", "14 days". Relative paths are resolved from the folder of the configuration \
file, or from the data folder where noted.`;

function tomlOf(sections: readonly Section[]): string {
  const lines = introduction.split('\n').flatMap(comment);
  for (const { path, description, keys, isExample } of sections) {
    const off = isExample ? '# ' : '';
    lines.push('');
    if (path.length > 0) lines.push(...comment(description), `${off}[${formatPath(path)}]`);
    for (const key of keys) {
      lines.push(...(key === keys[0] ? [] : ['']), ...comment(remark(key)));
      if (key.value !== undefined) lines.push(`${off}${formatKey(key.name)} = ${key.value}`);
      if (key.example !== undefined) lines.push(`# ${formatKey(key.name)} = ${exampleValue(key)}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

function remark(key: Key): string {
  return key.isLive ? `${key.description} (live)` : key.description;
}

function exampleValue({ value, example }: Key): string {
  return value?.startsWith('[') ? `[${JSON.stringify(example)}]` : JSON.stringify(example);
}

/** Formats a comment in lines of at most 110 characters. */
function comment(text: string): string[] {
  const lines: string[] = [];
  let line = '#';
  for (const word of text.split(' ')) {
    if (line.length + word.length + 1 > 110 && line !== '#') {
      lines.push(line);
      line = '#';
    }
    line += word === '' ? '' : ` ${word}`;
  }
  return text === '' && lines.length === 0 ? ['#'] : [...lines, line];
}

// ---------------------------------------------------------------------------------------------------------------
// Markdown

function markdownOf(sections: readonly Section[]): string {
  const parts = [
    '<!-- Generated from the schemas by `npm run docs`: change it there. -->',
    '# Configuration',
    `The server reads one file in [TOML](https://toml.io): the one that \`--config\` names, else ${defaultFiles.map((file) => `\`${file}\``).join(' or ')}, whichever exists first, else none. Every key has a default. The whole file is validated before anything starts; \`waxwing check\` only validates it. Unknown keys are refused, so a misspelt limit cannot go unnoticed.`,
    'Amounts are numbers in bytes or seconds, or text with a unit: `"64 KiB"` (1024s), `"10 MB"` (thousands), `"500 ms"`, `"5 minutes"`, `"14 days"`. `"unlimited"` is accepted only where noted. Relative paths are resolved from the folder of the configuration file (without a file, from the working directory), or from the data folder where noted.',
    'Keys marked ● are applied to the running server by `waxwing reload`; the others need a restart.',
  ];
  for (const { path, description, keys } of sections) {
    if (path.length > 0)
      parts.push(`${'#'.repeat(Math.min(path.length + 1, 4))} \`[${formatPath(path)}]\``, description);
    if (keys.length === 0) continue;
    const rows = keys.map(
      (key) =>
        `| \`${key.name}\`${key.isLive ? ' ●' : ''} | ${key.value === undefined ? '' : `\`${cell(key.value)}\``} | ${cell(meaning(key))} |`,
    );
    parts.push(['| key | default | meaning |', '| --- | --- | --- |', ...rows].join('\n'));
  }
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

function meaning(key: Key): string {
  const example = key.example === undefined ? '' : ` Example: \`${exampleValue(key)}\`.`;
  return `${key.description}${example}`;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
