/**
 * Amounts in the configuration: a plain number in the base unit (bytes, seconds, pieces), text with a unit ("64 KiB",
 * "5 minutes"), or, if allowed, "unlimited". The parsed configuration holds plain numbers, and `Infinity` for
 * "unlimited".
 */
import { z } from 'zod';

export type Unit = 'bytes' | 'seconds' | 'count';

export interface Bounds {
  readonly min?: number;
  readonly max?: number;
  /** Whether "unlimited" (TOML's `inf` too) is accepted. */
  readonly unlimited?: boolean;
}

/** Metadata of an amount's schema, from which messages and the reference are made. */
export interface Quantity extends Required<Bounds> {
  readonly unit: Unit;
}

/** Maximum delay of a Node timer (2^31 - 1 ms), in whole seconds. */
export const longestTimer = 2_147_483;

const factors: Record<Unit, Readonly<Record<string, number>>> = {
  bytes: {
    bytes: 1,
    byte: 1,
    B: 1,
    kB: 1e3,
    KB: 1e3,
    MB: 1e6,
    GB: 1e9,
    TB: 1e12,
    KiB: 2 ** 10,
    MiB: 2 ** 20,
    GiB: 2 ** 30,
    TiB: 2 ** 40,
  },
  seconds: {
    ms: 0.001,
    milliseconds: 0.001,
    s: 1,
    second: 1,
    seconds: 1,
    min: 60,
    minute: 60,
    minutes: 60,
    h: 3600,
    hour: 3600,
    hours: 3600,
    d: 86_400,
    day: 86_400,
    days: 86_400,
    week: 604_800,
    weeks: 604_800,
  },
  count: {},
};

/** Bytes: a whole number, or "10 KB" (thousands), "64 KiB" (1024s). */
export const bytes = (bounds?: Bounds) => quantity('bytes', bounds);

/** Seconds: a number, fractions allowed, or "5 minutes", "500 ms", "14 days". */
export const seconds = (bounds?: Bounds) => quantity('seconds', bounds);

/** A number of things: a whole number. */
export const count = (bounds?: Bounds) => quantity('count', bounds);

/** Parses a text with a unit. Returns undefined if it is not an amount of this unit. */
export function parseQuantity(text: string, unit: Unit): number | undefined {
  if (text === 'unlimited') return Infinity;
  const parts = /^(\d+(?:\.\d+)?) ?([a-zA-Z]+)$/.exec(text.trim());
  if (parts === null) return undefined;
  const factor = Object.hasOwn(factors[unit], parts[2]!) ? factors[unit][parts[2]!]! : undefined;
  if (factor === undefined) return undefined;
  // 1.1 * 1000 is not whole in binary: round what is nearly whole
  const value = Number(parts[1]) * factor;
  return Math.abs(value - Math.round(value)) < 1e-6 ? Math.round(value) : value;
}

/** Returns the shortest exact notation: 262144 bytes is "256 KiB", 10000 "10 KB", 300 seconds "5 minutes". */
export function formatQuantity(value: number, unit: Unit): string {
  if (value === Infinity) return 'unlimited';
  if (value === 0) return `${value} ${unit === 'count' ? '' : unit}`.trim();
  const names =
    unit === 'bytes'
      ? ['TiB', 'GiB', 'MiB', 'KiB', 'GB', 'MB', 'KB']
      : unit === 'seconds'
        ? ['day', 'hour', 'minute']
        : [];
  for (const name of names) {
    const amount = value / factors[unit][name]!;
    if (Number.isInteger(amount)) return `${amount} ${name}${unit === 'seconds' && amount !== 1 ? 's' : ''}`;
  }
  if (unit === 'seconds' && value < 1) return `${Math.round(value * 1000)} ms`;
  return unit === 'count' ? String(value) : `${value} ${value === 1 ? unit.slice(0, -1) : unit}`;
}

function quantity(unit: Unit, bounds: Bounds = {}) {
  const description: Quantity = {
    unit,
    min: bounds.min ?? 0,
    max: bounds.max ?? Number.MAX_SAFE_INTEGER,
    unlimited: bounds.unlimited ?? false,
  };
  return z
    .preprocess(
      (value) => (typeof value === 'string' ? (parseQuantity(value, unit) ?? value) : value),
      z.custom<number>((value) => isWithin(value, description)),
    )
    .meta({ quantity: description });
}

function isWithin(value: unknown, { unit, min, max, unlimited }: Quantity): boolean {
  if (typeof value !== 'number' || Number.isNaN(value)) return false;
  if (value === Infinity) return unlimited;
  return value >= min && value <= max && (unit === 'seconds' || Number.isInteger(value));
}
