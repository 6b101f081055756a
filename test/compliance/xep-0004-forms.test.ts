/**
 * XEP-0004 with XEP-0068, XEP-0122 and XEP-0128: every form that the server sends follows the rules. Submitted forms
 * are tested with their features.
 */
import assert from 'node:assert/strict';
import { Jid } from '../../src/server/address/jid.js';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { type Peer, scenario } from './dialogue.js';

const config = {
  hosts: {
    localhost: { admins: ['romeo@localhost'], contact: { abuse: ['mailto:abuse@localhost'] } },
    'elsewhere.example': {},
  },
  modules: { directory: { enabled: true }, register: { open: true } },
};

const fieldTypes = [
  'boolean',
  'fixed',
  'hidden',
  'jid-multi',
  'jid-single',
  'list-multi',
  'list-single',
  'text-multi',
  'text-private',
  'text-single',
];
const multiple = ['hidden', 'jid-multi', 'list-multi', 'text-multi'];
const valuesOf = (field: Element) => field.getChildren('value', NS.dataForms).map((value) => value.getText());

/** XEP-0004 §3.2, §3.3. */
function checkField(field: Element, formType: string, where: string): void {
  const { attrs } = field;
  const at = `${where}, field ${attrs.var}`;
  const type = attrs.type ?? 'text-single';
  const values = valuesOf(field);
  const options = field.getChildren('option', NS.dataForms);
  assert.ok(fieldTypes.includes(type), `${at}: type ${type}`);
  if (type === 'fixed') return;
  assert.ok(attrs.var, `${at}: has no name`);
  // In a result the type may be omitted, and everything that depends on it
  if (attrs.type !== undefined || formType === 'form')
    assert.ok(values.length <= 1 || multiple.includes(type), `${at}: several values`);
  if (type === 'boolean') for (const value of values) assert.match(value, /^(0|1|true|false)$/, at);
  if (type === 'jid-single' || type === 'jid-multi')
    for (const value of values) assert.ok(Jid.tryParse(value), `${at}: ${value} is no JID`);
  for (const value of values)
    if (type !== 'text-multi' && type !== 'hidden') assert.doesNotMatch(value, /[\r\n]/, `${at}: §3.3: a line break`);
  const isList = type === 'list-single' || type === 'list-multi';
  assert.ok(isList || options.length === 0, `${at}: options of no list`);
  if (!isList || formType !== 'form') return;
  const offered = options.map(valuesOf);
  for (const one of offered) assert.equal(one.length, 1, `${at}: an option has one value`);
  assert.equal(new Set(offered.flat()).size, offered.length, `${at}: an option twice`);
  const isOpen = field.getChild('validate', NS.dataFormsValidate)?.getChild('open') !== undefined;
  assert.ok(isOpen || offered.length > 0, `${at}: nothing to choose`);
  for (const value of values) assert.ok(isOpen || offered.flat().includes(value), `${at}: ${value} is no option`);
}

/** XEP-0122 §3: a type of XML Schema, or one of the registry (XEP-0060 §13.23). */
function checkValidation(field: Element, where: string): void {
  const all = field.getChildren('validate', NS.dataFormsValidate);
  assert.ok(all.length <= 1, where);
  for (const { attrs } of all)
    assert.match(attrs.datatype ?? 'xs:string', /^(xs:[a-z][A-Za-z]+|pubsub:integer-or-max)$/, where);
  const methods = all.flatMap((validate) => validate.getChildElements()).filter(({ name }) => name !== 'list-range');
  assert.ok(methods.length <= 1, `${where}: more than one method`);
  for (const method of methods) {
    assert.ok(['basic', 'open', 'range', 'regex'].includes(method.name), where);
    if (method.name !== 'range') continue;
    const { min, max } = method.attrs;
    assert.ok(min !== undefined || max !== undefined, `${where}: a range without bounds`);
    for (const value of valuesOf(field)) {
      if (!/^-?\d+$/.test(value)) continue;
      assert.ok(min === undefined || Number(value) >= Number(min), `${where}: ${value} is below ${min}`);
      assert.ok(max === undefined || Number(value) <= Number(max), `${where}: ${value} is above ${max}`);
    }
  }
}

function checkForm(form: Element, where: string): void {
  const type = form.attrs.type!;
  assert.ok(['form', 'result'].includes(type), `${where}: type ${type}`);
  const fields = form.getChildren('field', NS.dataForms);
  const named = fields.filter(({ attrs }) => attrs.type !== 'fixed').map(({ attrs }) => attrs.var);
  assert.equal(new Set(named).size, named.length, `${where}: a name twice`);
  for (const field of fields) {
    checkField(field, type, where);
    checkValidation(field, `${where}, field ${field.attrs.var}`);
  }
  // XEP-0068 §3: hidden, and of one value
  for (const [at, field] of fields.entries()) {
    if (field.attrs.var !== 'FORM_TYPE') continue;
    assert.equal(at, 0, where);
    assert.equal(field.attrs.type, 'hidden', where);
    assert.equal(valuesOf(field).length, 1, where);
  }
  // XEP-0004 §3.4: the items have the fields that are reported, and no others
  const items = form.getChildren('item', NS.dataForms);
  const reported = form.getChildren('reported', NS.dataForms);
  assert.ok(reported.length <= 1, where);
  if (items.length > 0) {
    const columns = reported[0]!.getChildren('field', NS.dataForms).map(({ attrs }) => attrs.var);
    for (const item of items)
      for (const field of item.getChildren('field', NS.dataForms)) assert.ok(columns.includes(field.attrs.var), where);
  }
}

/** All forms of an element, however deep. */
function formsIn(element: Element): Element[] {
  return element.getChildElements().flatMap((child) => (child.is('x', NS.dataForms) ? [child] : formsIn(child)));
}

let last = 0;

async function answer(peer: Peer, type: 'get' | 'set', to: string, payload: string): Promise<Element> {
  const id = `f${++last}`;
  await peer.sends(`<iq type='${type}' id='${id}' to='${to}'>${payload}</iq>`);
  for (;;) {
    const element = await peer.receivesAny();
    if (element.name === 'iq' && element.attrs.id === id) return element;
  }
}

scenario('every data form', { config }, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const room = 'cave@conference.localhost';
  await romeo.sends(`<presence to='${room}/romeo'><x xmlns='${NS.muc}'/></presence>`);
  const submit = `<query xmlns='${NS.mucOwner}'><x xmlns='${NS.dataForms}' type='submit'/></query>`;
  await answer(romeo, 'set', room, submit);
  const pubsub = (ns: string, content: string) => `<pubsub xmlns='${ns}'>${content}</pubsub>`;
  await answer(romeo, 'set', 'pubsub.localhost', pubsub(NS.pubsub, `<create node='news'/>`));
  await answer(romeo, 'set', 'pubsub.localhost', pubsub(NS.pubsub, `<subscribe node='news' jid='romeo@localhost'/>`));
  const wanted: readonly (readonly [to: string, payload: string, formType: string])[] = [
    [room, `<query xmlns='${NS.mucOwner}'/>`, NS.mucRoomConfig],
    [room, `<query xmlns='${NS.mam}'/>`, NS.mam],
    ['romeo@localhost', `<query xmlns='${NS.mam}'/>`, NS.mam],
    ['pubsub.localhost', pubsub(NS.pubsubOwner, `<configure node='news'/>`), `${NS.pubsub}#node_config`],
    ['pubsub.localhost', pubsub(NS.pubsubOwner, '<default/>'), `${NS.pubsub}#node_config`],
    [
      'pubsub.localhost',
      pubsub(NS.pubsub, `<options node='news' jid='romeo@localhost'/>`),
      `${NS.pubsub}#subscribe_options`,
    ],
    ['pubsub.localhost', pubsub(NS.pubsub, '<default/>'), `${NS.pubsub}#subscribe_options`],
    ['directory.localhost', `<query xmlns='${NS.search}'/>`, NS.search],
    ['directory.localhost', `<query xmlns='${NS.register}'/>`, NS.register],
  ];
  const check = async (peer: Peer, to: string, payload: string, formType: string) => {
    const found = formsIn(await answer(peer, 'get', to, payload));
    assert.equal(found.length, 1, `${to} ${payload}`);
    checkForm(found[0]!, `${to} ${payload}`);
    const [first] = found[0]!.getChildren('field', NS.dataForms);
    assert.deepEqual([first!.attrs.var, valuesOf(first!)], ['FORM_TYPE', [formType]], `${to} ${payload}`);
  };
  for (const [to, payload, formType] of wanted) await check(romeo, to, payload, formType);
  // not yet a member
  await check(await actor('nurse@localhost/chamber'), room, `<query xmlns='${NS.register}'/>`, NS.mucRegister);
});

scenario('XEP-0128: forms in service discovery have distinct FORM_TYPEs', { config }, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const room = 'cave@conference.localhost';
  await romeo.sends(`<presence to='${room}/romeo'><x xmlns='${NS.muc}'/></presence>`);
  let count = 0;
  for (const to of [
    'localhost',
    'romeo@localhost',
    room,
    'conference.localhost',
    'pubsub.localhost',
    'proxy.localhost',
  ]) {
    const result = await answer(romeo, 'get', to, `<query xmlns='${NS.discoInfo}'/>`);
    assert.equal(result.attrs.type, 'result', to);
    const forms = formsIn(result);
    const types = forms.map((form) => {
      checkForm(form, to);
      assert.equal(form.attrs.type, 'result', to);
      const [first] = form.getChildren('field', NS.dataForms);
      assert.equal(first?.attrs.var, 'FORM_TYPE', to);
      return valuesOf(first!)[0];
    });
    assert.equal(new Set(types).size, types.length, `${to}: a FORM_TYPE twice`);
    count += forms.length;
    // §3: its children are arbitrary
    const items = await answer(romeo, 'get', to, `<query xmlns='${NS.discoItems}'/>`);
    assert.deepEqual(formsIn(items), [], to);
  }
  assert.ok(count >= 2);
});

scenario('XEP-0050: every command, up to its first form or its only result', { config }, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const list = `<query xmlns='${NS.discoItems}' node='${NS.commands}'/>`;
  const commands = (await answer(romeo, 'get', 'localhost', list))
    .getChild('query', NS.discoItems)!
    .getChildren('item');
  assert.ok(commands.length > 5);
  let count = 0;
  for (const { attrs } of commands) {
    const node = attrs.node as string;
    const execute = `<command xmlns='${NS.commands}' node='${node}' action='execute'/>`;
    const result = await answer(romeo, 'set', attrs.jid as string, execute);
    assert.equal(result.attrs.type, 'result', node);
    for (const form of formsIn(result)) {
      checkForm(form, node);
      count++;
    }
    const { sessionid, status } = result.getChild('command', NS.commands)!.attrs;
    if (status === 'executing')
      await answer(
        romeo,
        'set',
        attrs.jid as string,
        `<command xmlns='${NS.commands}' node='${node}' sessionid='${sessionid}' action='cancel'/>`,
      );
  }
  assert.ok(count > 5);
});
