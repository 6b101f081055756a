/** Renamed keys. An old key still works, with a warning that names the new one. */
import type { Complaint } from './findings.js';
import type { KeyPath } from './positions.js';
import { formatPath, isTable } from './shape.js';

/** New keys by old key. A table of a module is a key; its old name also works in `modules.disabled`. */
const renamed: Readonly<Record<string, string>> = {
  'c2s.news_delay_seconds': 'c2s.notification_delay_seconds',
  'stream_management.keep_after_seconds': 'stream_management.snapshot_after_seconds',
  'modules.client_caps.kept': 'modules.client_caps.stored',
  'modules.passing': 'modules.client_protocols',
  'modules.reports.kept': 'modules.reports.stored',
  'modules.reports.tell': 'modules.reports.notify',
  'modules.reports.tell_admins': 'modules.reports.notify_admins',
};

interface Rename {
  readonly from: readonly string[];
  readonly to: readonly string[];
}

const renames: readonly Rename[] = Object.entries(renamed).map(([from, to]) => ({
  from: from.split('.'),
  to: to.split('.'),
}));

export interface Renamed {
  /** The configuration with new keys only. */
  readonly raw: Record<string, unknown>;
  /** One for each old key that was replaced. Paths are as written. */
  readonly warnings: readonly Complaint[];
  /** One for each old key whose new key is also present. Paths are as written. */
  readonly complaints: readonly Complaint[];
  /** The path, as written, of a path in `raw`. */
  written(path: KeyPath): KeyPath;
}

/** Replaces old keys. Leaves its argument unchanged. */
export function renameKeys(original: Readonly<Record<string, unknown>>): Renamed {
  let raw: Record<string, unknown> = original;
  const done: Rename[] = [];
  const warnings: Complaint[] = [];
  const complaints: Complaint[] = [];
  for (const rename of renames) {
    const { from, to } = rename;
    const value = at(raw, from);
    if (value === undefined) continue;
    raw = without(raw, from);
    if (at(raw, to) !== undefined) {
      complaints.push({
        path: from,
        problem: `is the old name of ${formatPath(to)}, which is also set`,
        hint: 'remove it',
      });
      continue;
    }
    raw = withValue(raw, to, value);
    done.push(rename);
    warnings.push({ path: from, problem: 'has a new name', hint: `write ${formatPath(to)}` });
  }
  const { modules } = raw;
  if (isTable(modules) && Array.isArray(modules.disabled)) {
    const disabled = modules.disabled.map((name: unknown, index) => {
      const rename = renames.find(({ from }) => from.length === 2 && from[0] === 'modules' && from[1] === name);
      if (rename === undefined) return name;
      const next = rename.to[1]!;
      warnings.push({
        path: ['modules', 'disabled', index],
        problem: `${JSON.stringify(name)} has a new name`,
        hint: `write ${JSON.stringify(next)}`,
      });
      return next;
    });
    raw = withValue(raw, ['modules', 'disabled'], disabled);
  }
  const written = (path: KeyPath): KeyPath => {
    const rename = done.find(({ to }) => to.every((step, index) => path[index] === step));
    return rename === undefined ? path : [...rename.from, ...path.slice(rename.to.length)];
  };
  return { raw, warnings, complaints, written };
}

function at(table: Readonly<Record<string, unknown>>, path: readonly string[]): unknown {
  let node: unknown = table;
  for (const step of path) node = isTable(node) && Object.hasOwn(node, step) ? node[step] : undefined;
  return node;
}

/** Returns a copy with a value at the path. A value on the way that is not a table is replaced. */
function withValue(
  table: Readonly<Record<string, unknown>>,
  [step, ...rest]: readonly string[],
  value: unknown,
): Record<string, unknown> {
  const below = table[step!];
  return { ...table, [step!]: rest.length === 0 ? value : withValue(isTable(below) ? below : {}, rest, value) };
}

/** Returns a copy without the value at the path, which exists. */
function without(
  table: Readonly<Record<string, unknown>>,
  [step, ...rest]: readonly string[],
): Record<string, unknown> {
  const { [step!]: below, ...others } = table;
  return rest.length === 0 ? others : { ...others, [step!]: without(below as Record<string, unknown>, rest) };
}
