/**
 * A form that is offered and then submitted (XEP-0004, XEP-0122), declared once: the declaration builds the form,
 * validates the submission and determines the types of its values.
 *
 *     const config = defineForm(NS.mucRoomConfig, {
 *       'muc#roomconfig_roomname': { type: 'text-single', label: 'Name' },
 *       'muc#roomconfig_whois': { type: 'list-single', options: ['moderators', 'anyone'] },
 *       'muc#roomconfig_roomadmins': { type: 'jid-multi' },
 *     });
 *     config.form({ 'muc#roomconfig_whois': 'moderators' }); // <x type='form'> with the current values
 *     config.read(element)?.['muc#roomconfig_whois'];        // 'moderators' | 'anyone' | undefined
 */

import { Jid } from '../address/jid.js';
import type { Element } from '../xml/element.js';
import { demandFew } from './addresses.js';
import { formatDateTime, parseDate, parseDateTime } from './datetime.js';
import { StanzaError } from './errors.js';
import {
  type Field,
  type FieldOption,
  type FieldValue,
  type FormHead,
  form,
  malformed,
  readBoolean,
  readForm,
  unacceptable,
  type Validation,
} from './forms.js';

interface Described {
  readonly label?: string | undefined;
  readonly desc?: string | undefined;
  /** Whether to refuse a submission without the field, or with an empty value. */
  readonly required?: boolean | undefined;
  /** Other names that clients use for the field, read if the field itself is absent; the first match wins. */
  readonly also?: readonly string[] | undefined;
}

interface TextField extends Described {
  readonly type: 'text-single' | 'text-private' | 'text-multi' | 'hidden';
  readonly datatype?: undefined;
  /** Maximum length of a value, in UTF-16 units. */
  readonly longest?: number | undefined;
}

interface NumberField extends Described {
  readonly type: 'text-single' | 'hidden';
  /** `pubsub:integer-or-max` is a number or the word `max` (XEP-0060 §13). */
  readonly datatype: 'xs:integer' | 'pubsub:integer-or-max';
  readonly min?: number | undefined;
  readonly max?: number | undefined;
}

interface TimeField extends Described {
  readonly type: 'text-single' | 'hidden';
  readonly datatype: 'xs:dateTime';
}

interface DateField extends Described {
  readonly type: 'text-single' | 'hidden';
  readonly datatype: 'xs:date';
}

interface ListField extends Described {
  readonly type: 'list-single' | 'list-multi';
  readonly options: readonly (string | FieldOption)[];
  /** Whether to accept values that are not an option. */
  readonly open?: boolean | undefined;
  /** Other spellings of an option that clients use. */
  readonly aliases?: Readonly<Record<string, string>> | undefined;
  /** Values of a `list-multi` that are not an option and are skipped. */
  readonly ignored?: readonly string[] | undefined;
}

interface PlainField extends Described {
  readonly type: 'boolean' | 'jid-single' | 'jid-multi';
}

/** Text between fields. */
interface FixedField extends Described {
  readonly type: 'fixed';
  readonly value: string;
}

export type FieldDeclaration = TextField | NumberField | TimeField | DateField | ListField | PlainField | FixedField;

type Declarations = Readonly<Record<string, FieldDeclaration>>;

/** The value type of a field without data type or options. */
interface Plain {
  boolean: boolean;
  fixed: never;
  hidden: string;
  'jid-multi': readonly Jid[];
  'jid-single': Jid;
  'text-multi': readonly string[];
  'text-private': string;
  'text-single': string;
}

type OptionOf<O> = O extends { readonly value: infer V } ? V : O;
type Chosen<D> = D extends { readonly open: true }
  ? string
  : D extends { readonly options: readonly (infer O)[] }
    ? OptionOf<O>
    : never;

/** The value type of a field. Times are ms since 1970, dates the ms of their first moment (UTC). */
export type ValueOf<D extends FieldDeclaration> = D extends { readonly type: 'list-single' }
  ? Chosen<D>
  : D extends { readonly type: 'list-multi' }
    ? readonly Chosen<D>[]
    : D extends { readonly datatype: 'pubsub:integer-or-max' }
      ? number | 'max'
      : D extends { readonly datatype: string }
        ? number
        : D['type'] extends keyof Plain
          ? Plain[D['type']]
          : never;

type Asked<F extends Declarations> = { [K in keyof F]: F[K] extends { readonly type: 'fixed' } ? never : K }[keyof F];
type Required<F extends Declarations> = {
  [K in Asked<F>]: F[K] extends { readonly required: true } ? K : never;
}[Asked<F>];

/** The values of a submission. A field left out by the client is absent here and keeps its value (§3.5). */
export type Submission<F extends Declarations> = {
  readonly [K in Required<F>]: ValueOf<F[K]>;
} & {
  readonly [K in Exclude<Asked<F>, Required<F>>]?: ValueOf<F[K]>;
};

export type FormValues<F extends Declarations> = { readonly [K in Asked<F>]?: ValueOf<F[K]> | undefined };

export interface DeclaredForm<F extends Declarations> {
  readonly formType: string;
  readonly fields: F;
  /** Builds the form to be filled in, with the current values. */
  form(values?: FormValues<F>, head?: FormHead): Element;
  /** Builds a result form: the values only (used by XEP-0128 among others). */
  result(values: FormValues<F>, head?: FormHead): Element;
  /**
   * Reads a submission. Returns undefined if the form was cancelled. An empty value of a field that is not text counts
   * as left out. Throws StanzaError: `bad-request` if this is not the form, `not-acceptable` for values that are not
   * allowed.
   */
  read(element: Element | undefined): Submission<F> | undefined;
}

export interface FormRules {
  /** Undeclared fields: XEP-0004 §3.1 ignores them, XEP-0313 answers `feature-not-implemented`. */
  readonly unknown?: 'ignore' | 'refuse';
  /** Another FORM_TYPE that clients submit the form with. */
  readonly alsoType?: string;
}

export function defineForm<const F extends Declarations>(
  formType: string,
  fields: F,
  { unknown = 'ignore', alsoType }: FormRules = {},
): DeclaredForm<F> {
  const declared = Object.entries<FieldDeclaration>(fields);
  const names = new Set(declared.flatMap(([name, { also = [] }]) => [name, ...also]));
  return {
    formType,
    fields,
    form: (values = {}, head = {}) =>
      form({ ...head, type: 'form', formType, fields: declared.map(([name, field]) => offered(name, field, values)) }),
    result: (values, head = {}) =>
      form({
        ...head,
        type: 'result',
        formType,
        fields: declared.flatMap(([name, field]) => valueFields(name, field, values)),
      }),
    read: (element) => {
      const reading = readForm(element, formType, alsoType);
      if (reading.type === 'cancel') return undefined;
      if (reading.type !== 'submit') throw malformed('The form must have the type "submit"');
      for (const name of reading.fields.keys()) {
        if (unknown === 'refuse' && !names.has(name)) {
          throw new StanzaError('feature-not-implemented', `Unknown field ${name}`);
        }
      }
      const submission: Record<string, unknown> = {};
      for (const [name, field] of declared) {
        let value: unknown;
        for (const one of [name, ...(field.also ?? [])]) {
          const values = reading.fields.get(one);
          value ??= values === undefined ? undefined : readValue(one, field, values);
        }
        if (field.required && (value === undefined || value === '' || (Array.isArray(value) && value.length === 0))) {
          throw unacceptable(name, 'required');
        }
        if (value !== undefined) submission[name] = value;
      }
      return submission as Submission<F>;
    },
  };
}

type Values = Readonly<Record<string, unknown>>;

function offered(name: string, declaration: FieldDeclaration, values: Values): Field {
  const { type, label, desc, required } = declaration;
  const current = type === 'fixed' ? declaration.value : valueFields(name, declaration, values)[0]?.value;
  const options = 'options' in declaration ? withChosen(declaration.options, current) : undefined;
  // Conversations cannot return an empty value.
  const value = current === '' ? undefined : current;
  return { var: name, type, label, desc, required, value, options, validate: validation(declaration) };
}

/** Psi and Converse.js return the first option of a list if its value is not one of them. */
function withChosen(options: ListField['options'], value: Field['value'] = []): ListField['options'] {
  const missing = [value].flat().filter((one) => one !== '' && !options.some((option) => chosenBy(option) === one));
  return [...options, ...missing.map((one) => ({ value: String(one), label: String(one) }))];
}

/** Returns no field if there is no value. */
function valueFields(name: string, declaration: FieldDeclaration, values: Values): Field[] {
  const value = values[name] as FieldValue | readonly FieldValue[] | undefined;
  if (value === undefined) return [];
  const { type, label } = declaration;
  const datatype = 'datatype' in declaration ? declaration.datatype : undefined;
  if (datatype === 'xs:dateTime') return [{ var: name, type, label, value: formatDateTime(value as number) }];
  if (datatype === 'xs:date') return [{ var: name, type, label, value: formatDateTime(value as number).slice(0, 10) }];
  return [{ var: name, type, label, value }];
}

function validation(declaration: FieldDeclaration): Validation | undefined {
  if ('options' in declaration) return declaration.open ? { datatype: 'xs:string', open: true } : undefined;
  if (!('datatype' in declaration) || declaration.datatype === undefined) return undefined;
  const { datatype } = declaration;
  return 'min' in declaration || 'max' in declaration
    ? { datatype, min: declaration.min, max: declaration.max }
    : { datatype };
}

/** Returns undefined if there is no value: an empty one of a field that is not text. */
function readValue(name: string, field: FieldDeclaration, values: readonly string[]): unknown {
  const given = values.filter((value) => value !== '');
  switch (field.type) {
    case 'fixed':
      return undefined;
    case 'text-multi':
      return values.map((value) => textOf(name, field, value));
    case 'list-multi': {
      const chosen = given.filter((value) => !field.ignored?.includes(value));
      return [...new Set(chosen.map((value) => optionOf(name, field, value)))];
    }
    case 'jid-multi': {
      demandFew(given);
      const jids = given.map((value) => jidOf(name, value));
      return [...new Map(jids.map((jid) => [jid.full, jid])).values()]; // §3.3: duplicates are ignored
    }
  }
  if (values.length > 1) throw malformed(`More than one value of ${name}`);
  if (isText(field)) return textOf(name, field, values[0] ?? '');
  const [value] = given;
  if (value === undefined) return undefined;
  if ('options' in field) return optionOf(name, field, value);
  if ('datatype' in field) return dataOf(name, field, value);
  return field.type === 'boolean' ? readBoolean(name, value) : jidOf(name, value);
}

function isText(field: FieldDeclaration): field is TextField {
  return ['text-single', 'text-private', 'hidden'].includes(field.type) && !('datatype' in field && field.datatype);
}

function textOf(name: string, { longest }: TextField, value: string): string {
  if (longest !== undefined && value.length > longest)
    throw unacceptable(name, `must not exceed ${longest} characters`);
  return value;
}

const chosenBy = (option: string | FieldOption): string => (typeof option === 'string' ? option : option.value);

const aliasOf = ({ aliases = {} }: ListField, value: string): string =>
  Object.hasOwn(aliases, value) ? aliases[value]! : value;

const isOption = (field: ListField, value: string): boolean =>
  field.options.some((option) => chosenBy(option) === aliasOf(field, value));

function optionOf(name: string, field: ListField, value: string): string {
  if (!field.open && !isOption(field, value)) throw unacceptable(name, 'not one of the options');
  return aliasOf(field, value);
}

function jidOf(name: string, value: string): Jid {
  const jid = Jid.tryParse(value);
  if (jid === undefined) throw unacceptable(name, 'not an address');
  return jid;
}

/** XEP-0122 §3.1, §3.2.3. */
function dataOf(name: string, field: NumberField | TimeField | DateField, text: string): number | 'max' {
  const value = text.trim(); // XML Schema collapses white space around all types but strings
  if (field.datatype === 'xs:dateTime' || field.datatype === 'xs:date') {
    const time = field.datatype === 'xs:date' ? parseDate(value) : parseDateTime(value);
    if (time === undefined) throw unacceptable(name, `not a valid ${field.datatype}`);
    return time;
  }
  if (field.datatype === 'pubsub:integer-or-max' && value === 'max') return 'max';
  const number = /^[+-]?\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(number)) throw unacceptable(name, 'not a whole number');
  const { min, max } = field;
  if (min !== undefined && number < min) throw unacceptable(name, `must be at least ${min}`);
  if (max !== undefined && number > max) throw unacceptable(name, `must be at most ${max}`);
  return number;
}
