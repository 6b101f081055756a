/** Messages about a wrong configuration: the key, the problem, the correction. */
import type { z } from 'zod';
import { nearest } from '../nearest.js';
import type { KeyPath } from './positions.js';
import { keysOf, type Schema, unwrap } from './shape.js';
import { formatQuantity, type Quantity } from './units.js';

export interface Finding {
  /** As given by the user. Undefined if the finding is not about a file (defaults, command line). */
  readonly file: string | undefined;
  /** From 1. Undefined if the key is not in the file. */
  readonly line: number | undefined;
  readonly column: number | undefined;
  /** `limits.stanza_bytes`; empty for the file as a whole. */
  readonly path: string;
  /** Begins with the value. */
  readonly problem: string;
  /** The correction. */
  readonly hint: string;
}

/** The configuration is not usable. The message has one line per finding. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  constructor(readonly findings: readonly Finding[]) {
    super(findings.map(formatFinding).join('\n'));
  }
}

/** `waxwing.toml:12:16: limits.stanza_bytes: "64k" is text; write a number of bytes, such as 65536 or "64 KiB"` */
export function formatFinding({ file, line, column, path, problem, hint }: Finding): string {
  const place = file === undefined ? '' : `${[file, line, column].filter((part) => part !== undefined).join(':')}: `;
  return `${place}${path === '' ? '' : `${path}: `}${problem}; ${hint}`;
}

/** A finding without its position. */
export interface Complaint {
  readonly path: KeyPath;
  readonly problem: string;
  readonly hint: string;
}

/** Converts a zod issue to a message. `schema` is the schema at the issue's path. */
export function explain(issue: z.core.$ZodIssue, schema: Schema): Omit<Complaint, 'path'> {
  const value = issue.input;
  const { core, meta } = unwrap(schema);
  const shown = meta.secret ? 'the value' : show(value);
  const say = (problem: string, hint: string) => ({ problem: `${shown} ${problem}`, hint });
  if (issue.code === 'invalid_key' && issue.issues[0] !== undefined) {
    return explain({ ...issue.issues[0], input: issue.path.at(-1) } as z.core.$ZodIssue, core);
  }
  if (issue.code === 'custom' && typeof issue.params?.hint === 'string') return say(issue.message, issue.params.hint);
  if (value === undefined) return { problem: 'is missing', hint: `write ${expectation(schema)}` };
  if (meta.quantity !== undefined && typeof value === 'number') return { ...say(...outOfBounds(value, meta.quantity)) };
  switch (issue.code) {
    case 'invalid_type':
    case 'invalid_union':
      return say(`is ${kind(value)}`, `write ${expectation(schema)}`);
    case 'invalid_value': {
      const options = issue.values.filter((option) => typeof option === 'string');
      const meant = typeof value === 'string' ? nearest(value, options) : undefined;
      if (meant !== undefined) return say('is not a known value', `did you mean ${JSON.stringify(meant)}?`);
      return say(
        typeof value === 'string' ? 'is not a known value' : `is ${kind(value)}`,
        `write ${expectation(schema)}`,
      );
    }
    case 'too_small':
      return say(
        'is too small',
        `write ${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}${measure(value)}`,
      );
    case 'too_big':
      return say(
        'is too large',
        `write ${issue.inclusive === false ? 'less than' : 'at most'} ${issue.maximum}${measure(value)}`,
      );
    case 'custom':
      // an amount that is not a number, or a module's own refinement
      if (meta.quantity !== undefined) return say(`is ${kind(value)}`, `write ${expectation(schema)}`);
      return { problem: issue.message, hint: `write ${expectation(schema)}` };
    default:
      return { problem: `${shown}: ${issue.message}`, hint: `write ${expectation(schema)}` };
  }
}

function outOfBounds(value: number, { unit, min, max }: Quantity): [problem: string, hint: string] {
  if (Number.isNaN(value)) return ['is not a number', 'write a number'];
  if (value === Infinity) return ['is not allowed here', `write at most ${formatQuantity(max, unit)}`];
  if (value < min) return ['is too small', `write at least ${formatQuantity(min, unit)}`];
  if (value > max) return ['is too large', `write at most ${formatQuantity(max, unit)}`];
  return ['is not a whole number', `write ${Math.floor(value)} or ${Math.ceil(value)}`];
}

/** Returns what a key accepts, to follow "write". */
function expectation(schema: Schema): string {
  const { core, meta } = unwrap(schema);
  if (meta.quantity !== undefined) return quantityExpectation(meta.quantity, defaultOf(schema));
  const { def } = (core as z.core.$ZodTypes)._zod;
  const example = meta.example ?? defaultOf(schema);
  const such = (text: string) =>
    `${text}${example === undefined || example === '' ? '' : `, such as ${show(example)}`}`;
  switch (def.type) {
    case 'boolean':
      return 'true or false';
    case 'string':
      return such('text in quotes');
    case 'number':
      return such('a number');
    case 'enum':
      return `one of ${Object.values(def.entries).map(show).join(', ')}`;
    case 'literal':
      return def.values.map(show).join(' or ');
    case 'union':
      return def.options.map(expectation).join(', or ');
    case 'array': {
      if (example !== undefined && !Array.isArray(example)) return `a list, such as [${show(example)}]`;
      return Array.isArray(example) && example.length > 0
        ? `a list, such as ${show(example)}`
        : `a list of ${expectation(def.element)}`;
    }
    case 'record':
      return 'a table';
    case 'object': {
      const keys = Object.keys(keysOf(core) ?? {});
      return keys.length === 0 ? 'a table' : `a table with keys such as ${keys.slice(0, 3).join(', ')}`;
    }
    default:
      return 'another value';
  }
}

function quantityExpectation({ unit, min, unlimited }: Quantity, fallback: unknown): string {
  const number = typeof fallback === 'number' && Number.isFinite(fallback) ? fallback : Math.max(min, 100);
  const text = unit === 'count' ? 'a whole number' : `a number of ${unit}`;
  const withUnit = unit === 'count' ? '' : ` or ${show(formatQuantity(number, unit))}`;
  return `${text}, such as ${number}${withUnit}${unlimited ? ', or "unlimited"' : ''}`;
}

function defaultOf(schema: Schema): unknown {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  return def.type === 'default' ? def.defaultValue : undefined;
}

/** Formats a value as in the file, truncated if long. */
export function show(value: unknown): string {
  const text =
    typeof value === 'string' || Array.isArray(value)
      ? JSON.stringify(value)
      : value instanceof Date
        ? value.toISOString()
        : typeof value === 'object' && value !== null
          ? `{ ${Object.keys(value).join(', ')} }`
          : value === Infinity
            ? '"unlimited"'
            : String(value);
  return text.length <= 80 ? text : `${text.slice(0, 77)}…`;
}

function kind(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return 'text';
    case 'number':
      return value === Infinity ? 'not allowed here' : 'a number';
    case 'boolean':
      return 'a boolean';
    default:
      return Array.isArray(value) ? 'a list' : value instanceof Date ? 'a date' : 'a table';
  }
}

function measure(value: unknown): string {
  return typeof value === 'string' ? ' characters' : Array.isArray(value) ? ' entries' : '';
}
