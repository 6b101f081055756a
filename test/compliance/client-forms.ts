/**
 * How clients fill in a data form (XEP-0004): what each submits when its user changes some fields of the form that it
 * received (docs/decisions/0017-client-forms.md).
 */
import { NS } from '../../src/server/stanza/ns.js';
import { type Element, el, parse } from '../../src/server/xml/element.js';

/** New values by field. */
export type Changes = Readonly<Record<string, string>>;

export const fieldsOf = (form: Element) => form.getChildren('field', NS.dataForms);
export const valuesOf = (element: Element) =>
  element.getChildren('value', NS.dataForms).map((value) => value.getText());
const optionsOf = (field: Element) => field.getChildren('option', NS.dataForms).flatMap(valuesOf);

const submission = (fields: readonly Element[]) => el('x', { xmlns: NS.dataForms, type: 'submit' }, ...fields);
const filled = (attributes: { var: string; type?: string }, values: readonly string[]) =>
  el('field', attributes, ...values.map((value) => el('value', null, value)));

/** Dino, Monal, and Gajim when it creates a room: the received element, with its title, labels, options and data types. */
export function wholeForm(form: Element, changes: Changes): Element {
  const copy = parse(form.toString());
  copy.attrs.type = 'submit';
  for (const field of fieldsOf(copy)) {
    const changed = changes[field.attrs.var!];
    if (changed === undefined) continue;
    const value = field.getChild('value', NS.dataForms);
    if (value === undefined) field.cnode(el('value', null, changed));
    else value.children = [changed];
  }
  return copy;
}

/** Conversations: all values of each field, without its type. */
export const bareForm = (form: Element, changes: Changes): Element =>
  submission(
    fieldsOf(form).map((field) => {
      const name = field.attrs.var!;
      return filled({ var: name }, name in changes ? [changes[name]!] : valuesOf(field));
    }),
  );

/** Gajim's form: each field that has a value, with its type. */
export const typedForm = (form: Element, changes: Changes): Element =>
  submission(
    fieldsOf(form).flatMap((field) => {
      const { var: name = '', type = '' } = field.attrs;
      const values = name in changes ? [changes[name]!] : valuesOf(field);
      return values.some((value) => value !== '') ? [filled({ var: name, type }, values)] : [];
    }),
  );

/** The first option if there is no other: what a list shows that has nothing selected. */
const selected = (field: Element): string[] => {
  const options = optionsOf(field);
  const chosen = valuesOf(field).filter((value) => options.includes(value));
  return field.attrs.type === 'list-single' && chosen.length === 0 ? options.slice(0, 1) : chosen;
};

/** Psi: what its widgets show. Several lines are several values. */
export const desktopForm = (form: Element, changes: Changes): Element =>
  submission(
    fieldsOf(form).map((field) => {
      const { var: name = '', type = '' } = field.attrs;
      if (name in changes) return filled({ var: name, type }, [changes[name]!]);
      if (type.startsWith('list-')) return filled({ var: name, type }, selected(field));
      if (type === 'jid-multi') return filled({ var: name, type }, valuesOf(field).join('\n').split('\n'));
      return filled({ var: name, type }, [valuesOf(field)[0] ?? '']);
    }),
  );

/** Converse.js: what its HTML form shows. Older versions show only the first of several addresses. */
export const webForm = (form: Element, changes: Changes): Element =>
  submission(
    fieldsOf(form).map((field) => {
      const { var: name = '', type = '' } = field.attrs;
      if (name in changes) return filled({ var: name }, [changes[name]!]);
      if (type.startsWith('list-')) return filled({ var: name }, selected(field));
      if (type === 'jid-multi') return filled({ var: name }, valuesOf(field).slice(0, 1));
      return filled({ var: name }, [valuesOf(field)[0] ?? '']);
    }),
  );

/** Converse.js for nodes: a boolean as a word, a text as it is, and an empty value for whatever has options or lines. */
export const nodeForm = (form: Element, changes: Changes): Element =>
  submission(
    fieldsOf(form).map((field) => {
      const { var: name = '', type = '' } = field.attrs;
      const [value = ''] = valuesOf(field);
      if (name in changes) return filled({ var: name }, [changes[name]!]);
      if (type === 'boolean') return filled({ var: name }, [String(value === '1')]);
      return filled({ var: name }, [type.startsWith('list-') || type.endsWith('-multi') ? '' : value]);
    }),
  );
