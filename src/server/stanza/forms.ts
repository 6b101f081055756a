/**
 * XEP-0004: Data Forms, XEP-0068 (FORM_TYPE), and data types, ranges and open lists of XEP-0122.
 *
 * `form()` and `table()` build a form, `readForm()` reads any form. A form that is offered and then submitted is
 * declared with `defineForm()` (define-form.ts). Not implemented: regular expressions and numbers of selected items
 * (XEP-0122 §3.2.4, §3.3).
 */

import type { Jid } from '../address/jid.js';
import { type Element, el } from '../xml/element.js';
import { StanzaError } from './errors.js';
import { NS } from './ns.js';

// ---------------------------------------------------------------------------------------------------------------
// Writing

export type FormType = 'cancel' | 'form' | 'result' | 'submit';

export type FieldType =
  | 'boolean'
  | 'fixed'
  | 'hidden'
  | 'jid-multi'
  | 'jid-single'
  | 'list-multi'
  | 'list-single'
  | 'text-multi'
  | 'text-private'
  | 'text-single';

export type FieldValue = string | number | boolean | Jid;

export interface FieldOption {
  readonly value: string;
  readonly label?: string | undefined;
}

/**
 * XEP-0122: `open` lists allow values other than their options; `min` and `max` are written in the data type's format.
 */
export interface Validation {
  readonly datatype: string;
  readonly open?: boolean | undefined;
  readonly min?: string | number | undefined;
  readonly max?: string | number | undefined;
}

export interface Field {
  readonly var?: string | undefined;
  /** Always written: some clients drop a whole answer if one field has no type (XEP-0004 §3.3). */
  readonly type: FieldType;
  readonly label?: string | undefined;
  readonly desc?: string | undefined;
  readonly required?: boolean | undefined;
  readonly value?: FieldValue | readonly FieldValue[] | undefined;
  readonly options?: readonly (string | FieldOption)[] | undefined;
  readonly validate?: Validation | undefined;
}

/** The parts of a form above its fields. */
export interface FormHead {
  readonly title?: string | undefined;
  readonly instructions?: string | undefined;
}

export interface Form extends FormHead {
  readonly type: FormType;
  /** The FORM_TYPE, which defines the meaning of the field names (XEP-0068). */
  readonly formType?: string | undefined;
  readonly fields?: readonly Field[] | undefined;
}

export function form({ type, formType, title, instructions, fields = [] }: Form): Element {
  return el(
    'x',
    { xmlns: NS.dataForms, type },
    title === undefined ? undefined : el('title', null, title),
    instructions === undefined ? undefined : el('instructions', null, instructions),
    formType === undefined ? undefined : fieldElement({ var: 'FORM_TYPE', type: 'hidden', value: formType }),
    ...fields.map(fieldElement),
  );
}

export interface Table {
  readonly title?: string | undefined;
  readonly columns: readonly (Pick<Field, 'label' | 'type'> & { readonly var: string })[];
  readonly rows: readonly Readonly<Record<string, Field['value']>>[];
}

/** Builds a form of several items (§3.4). */
export function table({ title, columns, rows }: Table): Element {
  return el(
    'x',
    { xmlns: NS.dataForms, type: 'result' },
    title === undefined ? undefined : el('title', null, title),
    el('reported', null, ...columns.map(fieldElement)),
    ...rows.map((row) =>
      el('item', null, ...columns.map((column) => fieldElement({ var: column.var, value: row[column.var] ?? '' }))),
    ),
  );
}

/** Only fields of a table's items have no type: `<reported/>` has it (§3.4). */
type Written = Omit<Field, 'type'> & Partial<Pick<Field, 'type'>>;

function fieldElement({ type, label, desc, required, value, options = [], validate, ...field }: Written): Element {
  const values = value === undefined ? [] : Array.isArray(value) ? (value as readonly FieldValue[]) : [value];
  return el(
    'field',
    { var: field.var, type, label },
    desc === undefined ? undefined : el('desc', null, desc),
    required ? el('required') : undefined,
    validate === undefined ? undefined : validateElement(validate),
    ...values.map((value) => el('value', null, written(value as FieldValue))),
    ...options.map((option) =>
      typeof option === 'string'
        ? el('option', null, el('value', null, option))
        : el('option', { label: option.label }, el('value', null, option.value)),
    ),
  );
}

const written = (value: FieldValue): string => (typeof value === 'boolean' ? (value ? '1' : '0') : String(value));

function validateElement({ datatype, open, min, max }: Validation): Element {
  const range = min !== undefined || max !== undefined;
  return el(
    'validate',
    { xmlns: NS.dataFormsValidate, datatype },
    open ? el('open') : range ? el('range', { min: min?.toString(), max: max?.toString() }) : el('basic'),
  );
}

// ---------------------------------------------------------------------------------------------------------------
// Reading

/** A well-formed form, otherwise not validated. */
export interface FormReading {
  readonly type: FormType;
  readonly formType: string | undefined;
  /** The values of each field except FORM_TYPE. */
  readonly fields: ReadonlyMap<string, readonly string[]>;
  /** Returns the first value of a field, or undefined. */
  get(name: string): string | undefined;
  /** Returns all values of a field; none if it is absent. */
  all(name: string): readonly string[];
  /** Returns undefined if the field is absent. Throws StanzaError `not-acceptable` if the value is not a boolean. */
  bool(name: string): boolean | undefined;
}

const formTypes: readonly string[] = ['cancel', 'form', 'result', 'submit'] satisfies FormType[];
const singleTypes: readonly string[] = [
  'boolean',
  'fixed',
  'jid-single',
  'list-single',
  'text-private',
  'text-single',
] satisfies FieldType[];

/**
 * Throws StanzaError `bad-request` if the element is not a data form, or its FORM_TYPE is neither `expected` nor
 * `other`. A form without FORM_TYPE is accepted: its parent says what it is for, and some clients omit it.
 */
export function readForm(element: Element | undefined, expected?: string, other?: string): FormReading {
  if (element === undefined || !element.is('x', NS.dataForms)) throw malformed('A data form is missing');
  const { type = '' } = element.attrs;
  if (!formTypes.includes(type)) throw malformed('The form has no valid type');
  const fields = new Map<string, readonly string[]>();
  let formType: string | undefined;
  for (const field of element.getChildren('field', NS.dataForms)) {
    const name = field.attrs.var;
    if (name === undefined) {
      if (field.attrs.type === 'fixed') continue;
      throw malformed('A field has no name');
    }
    const values = field.getChildren('value', NS.dataForms).map((value) => value.getText());
    if (values.length > 1 && singleTypes.includes(field.attrs.type ?? ''))
      throw malformed(`More than one value of ${name}`);
    // XEP-0068 §5: in a submission the field may have any type, otherwise it must be hidden
    if (name === 'FORM_TYPE' && (type === 'submit' || field.attrs.type === 'hidden')) {
      if (formType !== undefined || values.length !== 1)
        throw malformed('There must be exactly one FORM_TYPE with one value');
      formType = values[0];
    } else if (fields.has(name)) {
      throw malformed(`More than one field ${name}`);
    } else {
      fields.set(name, values);
    }
  }
  if (expected !== undefined && formType !== undefined && formType !== expected && formType !== other) {
    throw malformed(`The FORM_TYPE must be ${expected}`);
  }
  return {
    type: type as FormType,
    formType,
    fields,
    get: (name) => fields.get(name)?.[0],
    all: (name) => fields.get(name) ?? [],
    bool: (name) => {
      const value = fields.get(name)?.[0];
      return value === undefined ? undefined : readBoolean(name, value);
    },
  };
}

export const malformed = (text: string): StanzaError => new StanzaError('bad-request', text);
/** §4: the answer to a well-formed form with invalid values. */
export const unacceptable = (name: string, why: string): StanzaError =>
  new StanzaError('not-acceptable', `${name}: ${why}`);

export function readBoolean(name: string, value: string): boolean {
  if (value === '1' || value === 'true') return true;
  if (value === '0' || value === 'false') return false;
  throw unacceptable(name, 'not a boolean');
}
