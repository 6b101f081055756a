import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Jid } from '../../src/server/address/jid.js';
import { defineForm } from '../../src/server/stanza/define-form.js';
import { StanzaError, type StanzaErrorCondition } from '../../src/server/stanza/errors.js';
import { form, readForm, table } from '../../src/server/stanza/forms.js';
import { type Element, parse, serialize } from '../../src/server/xml/element.js';

const x = (content: string, type = 'submit'): Element =>
  parse(`<x xmlns='jabber:x:data' type='${type}'>${content}</x>`);
const field = (name: string, ...values: string[]): string =>
  `<field var='${name}'>${values.map((value) => `<value>${value}</value>`).join('')}</field>`;
const fails = (condition: StanzaErrorCondition, work: () => unknown): void =>
  assert.throws(work, (error) => error instanceof StanzaError && error.condition === condition);

describe('form', () => {
  it('writes fields of every kind', () => {
    const written = form({
      type: 'form',
      formType: 'urn:example',
      title: 'Bot & co',
      instructions: 'Fill it in',
      fields: [
        { type: 'fixed', value: 'Section' },
        { var: 'public', type: 'boolean', label: 'Public?', required: true, value: false },
        {
          var: 'features',
          type: 'list-multi',
          options: ['news', { value: 'search', label: 'Search' }],
          value: ['news'],
        },
        { var: 'people', type: 'jid-multi', desc: 'Tell them', value: [Jid.parse('a@b'), Jid.parse('c@d')] },
        { var: 'size', type: 'text-single', validate: { datatype: 'xs:integer', min: 1, max: 9 }, value: 3 },
        { var: 'any', type: 'list-single', validate: { datatype: 'xs:string', open: true } },
        { var: 'day', type: 'text-single', validate: { datatype: 'xs:date' } },
      ],
    });
    const validate = "xmlns='http://jabber.org/protocol/xdata-validate'";
    const expected = `<x xmlns='jabber:x:data' type='form'><title>Bot &amp; co</title>
      <instructions>Fill it in</instructions>
      <field var='FORM_TYPE' type='hidden'><value>urn:example</value></field>
      <field type='fixed'><value>Section</value></field>
      <field var='public' type='boolean' label='Public?'><required/><value>0</value></field>
      <field var='features' type='list-multi'><value>news</value><option><value>news</value></option>
        <option label='Search'><value>search</value></option></field>
      <field var='people' type='jid-multi'><desc>Tell them</desc><value>a@b</value><value>c@d</value></field>
      <field var='size' type='text-single'>
        <validate ${validate} datatype='xs:integer'><range min='1' max='9'/></validate><value>3</value></field>
      <field var='any' type='list-single'><validate ${validate} datatype='xs:string'><open/></validate></field>
      <field var='day' type='text-single'><validate ${validate} datatype='xs:date'><basic/></validate></field></x>`;
    assert.equal(serialize(written), serialize(parse(expected.replace(/\n */g, ''))).replaceAll("'", '"'));
  });

  it('writes tables', () => {
    const written = table({
      title: 'Found',
      columns: [
        { var: 'name', type: 'text-single', label: 'Name' },
        { var: 'jid', type: 'jid-single' },
      ],
      rows: [{ name: 'Romeo', jid: Jid.parse('romeo@verona.example') }, { name: 'Nobody' }],
    });
    assert.equal(
      serialize(written),
      '<x xmlns="jabber:x:data" type="result"><title>Found</title>' +
        '<reported><field var="name" type="text-single" label="Name"/><field var="jid" type="jid-single"/></reported>' +
        '<item><field var="name"><value>Romeo</value></field><field var="jid"><value>romeo@verona.example</value></field></item>' +
        '<item><field var="name"><value>Nobody</value></field><field var="jid"><value/></field></item></x>'.replace(
          '<value/>',
          '<value></value>',
        ),
    );
  });
});

describe('readForm', () => {
  it('reads values by name', () => {
    const content = `${field('FORM_TYPE', 'urn:example')}${field('a', '1', '2')}${field('b')}${field('c', 'true')}`;
    const read = readForm(x(content), 'urn:example');
    assert.equal(read.type, 'submit');
    assert.equal(read.formType, 'urn:example');
    assert.deepEqual([...read.fields.keys()], ['a', 'b', 'c']);
    assert.equal(read.get('a'), '1');
    assert.deepEqual(read.all('a'), ['1', '2']);
    assert.deepEqual(read.all('b'), []);
    assert.equal(read.get('b'), undefined);
    assert.equal(read.get('none'), undefined);
    assert.deepEqual(read.all('none'), []);
    assert.equal(read.bool('c'), true);
  });

  it('reads booleans', () => {
    const words = [
      ['1', true],
      ['true', true],
      ['0', false],
      ['false', false],
    ] as const;
    for (const [word, value] of words) assert.equal(readForm(x(field('b', word))).bool('b'), value);
    assert.equal(readForm(x('')).bool('b'), undefined);
    for (const word of ['', 'TRUE', 'yes', '2', ' 1'])
      fails('not-acceptable', () => readForm(x(field('b', word))).bool('b'));
  });

  it('reads FORM_TYPE as XEP-0068 does', () => {
    const plain = field('FORM_TYPE', 'urn:example');
    assert.equal(readForm(x(plain)).formType, 'urn:example');
    assert.equal(readForm(x(plain, 'result')).formType, undefined);
    assert.equal(readForm(x(plain, 'result')).get('FORM_TYPE'), 'urn:example');
    const hidden = "<field var='FORM_TYPE' type='hidden'><value>urn:example</value></field>";
    assert.equal(readForm(x(hidden, 'result')).formType, 'urn:example');
    assert.equal(readForm(x(''), 'urn:example').formType, undefined);
    fails('bad-request', () => readForm(x(plain), 'urn:other'));
    fails('bad-request', () => readForm(x(plain + plain)));
    fails('bad-request', () => readForm(x(field('FORM_TYPE', 'a', 'b'))));
    fails('bad-request', () => readForm(x(field('FORM_TYPE'))));
  });

  it('refuses other elements', () => {
    const malformed: readonly (Element | undefined)[] = [
      undefined,
      parse("<x xmlns='jabber:x:other' type='submit'/>"),
      parse("<query xmlns='jabber:x:data' type='submit'/>"),
      parse("<x xmlns='jabber:x:data'/>"),
      x('', 'toString'),
      x('<field><value>a</value></field>'),
      x("<field type='hidden'/>"),
      x(field('a', '1') + field('a', '2')),
      x("<field var='a' type='boolean'><value>1</value><value>0</value></field>"),
    ];
    for (const element of malformed) fails('bad-request', () => readForm(element));
  });

  it('ignores unknown fields', () => {
    const read = readForm(
      x("<field type='fixed'><value>Hi</value></field><y xmlns='other'/><field xmlns='other' var='a'/>"),
    );
    assert.equal(read.fields.size, 0);
  });
});

const room = defineForm('urn:example:room', {
  heading: { type: 'fixed', value: 'The room' },
  name: { type: 'text-single', label: 'Name', required: true, longest: 10 },
  secret: { type: 'text-private' },
  lines: { type: 'text-multi' },
  token: { type: 'hidden' },
  open: { type: 'boolean', desc: 'For everybody?' },
  whois: { type: 'list-single', options: ['moderators', { value: 'anyone', label: 'Anyone' }] },
  roles: { type: 'list-multi', options: ['a', 'b', 'c'] },
  groups: { type: 'list-multi', options: ['x'], open: true },
  owner: { type: 'jid-single' },
  admins: { type: 'jid-multi' },
  size: { type: 'text-single', datatype: 'xs:integer', min: 1, max: 100 },
  items: { type: 'text-single', datatype: 'pubsub:integer-or-max', min: 0 },
  since: { type: 'text-single', datatype: 'xs:dateTime' },
  day: { type: 'text-single', datatype: 'xs:date' },
});

describe('a defined form', () => {
  const named = field('name', 'Orchard');
  const read = (...fields: string[]) => room.read(x(named + fields.join('')));

  it('is written with its values', () => {
    const element = room.form(
      { name: 'Orchard', whois: 'anyone', size: 20, since: 0, day: 0, open: true },
      { title: 'Room' },
    );
    const written = readForm(element, 'urn:example:room');
    assert.equal(element.getChildText('title'), 'Room');
    assert.deepEqual(
      [...written.fields].filter(([, values]) => values.length > 0),
      [
        ['heading', ['The room']],
        ['name', ['Orchard']],
        ['open', ['1']],
        ['whois', ['anyone']],
        ['size', ['20']],
        ['since', ['1970-01-01T00:00:00.000Z']],
        ['day', ['1970-01-01']],
      ],
    );
    const text = serialize(element);
    assert.match(text, /<field var="name" type="text-single" label="Name"><required\/><value>/);
    assert.match(text, /datatype="xs:integer"><range min="1" max="100"\/>/);
    assert.match(text, /datatype="pubsub:integer-or-max"><range min="0"\/>/);
    assert.match(text, /datatype="xs:dateTime"><basic\/>/);
    assert.match(text, /datatype="xs:string"><open\/><\/validate><option><value>x<\/value><\/option>/);
    assert.equal(serialize(room.form()).match(/<value>/g)?.length, 2 + 2 + 3 + 1, 'FORM_TYPE, heading, options');
  });

  it('is written as information', () => {
    assert.equal(
      serialize(room.result({ name: 'Orchard', admins: [Jid.parse('a@b')] })),
      '<x xmlns="jabber:x:data" type="result">' +
        '<field var="FORM_TYPE" type="hidden"><value>urn:example:room</value></field>' +
        '<field var="name" type="text-single" label="Name"><value>Orchard</value></field>' +
        '<field var="admins" type="jid-multi"><value>a@b</value></field></x>',
    );
  });

  it('is read with types', () => {
    const submission = room.read(
      x(
        field('FORM_TYPE', 'urn:example:room') +
          named +
          field('secret', '') +
          field('lines', 'one', '', 'two') +
          field('token', 't') +
          field('open', 'true') +
          field('whois', 'anyone') +
          field('roles', 'c', 'a', 'c') +
          field('groups', 'x', 'y') +
          field('owner', 'ROMEO@verona.example') +
          field('admins', 'a@b', 'A@b', 'c@d', '') +
          field('size', ' 20 ') +
          field('items', 'max') +
          field('since', '1970-01-01T01:00:00+01:00') +
          field('day', '1970-01-02') +
          field('unknown', 'ignored'),
      ),
    );
    // The types are checked by the compiler
    const name: string | undefined = submission?.name;
    const whois: 'moderators' | 'anyone' | undefined = submission?.whois;
    const roles: readonly ('a' | 'b' | 'c')[] | undefined = submission?.roles;
    const groups: readonly string[] | undefined = submission?.groups;
    const items: number | 'max' | undefined = submission?.items;
    assert.deepEqual(
      { ...submission, owner: submission?.owner?.full, admins: submission?.admins?.map(String) },
      {
        name,
        secret: '',
        lines: ['one', '', 'two'],
        token: 't',
        open: true,
        whois,
        roles,
        groups,
        owner: 'romeo@verona.example',
        admins: ['a@b', 'c@d'],
        size: 20,
        items,
        since: 0,
        day: 86_400_000,
      },
    );
    assert.deepEqual([name, whois, roles, groups, items], ['Orchard', 'anyone', ['c', 'a'], ['x', 'y'], 'max']);
  });

  it('distinguishes missing and empty fields', () => {
    assert.deepEqual(read(), { name: 'Orchard' });
    assert.deepEqual(read(field('secret'), field('lines'), field('roles'), field('admins', '')), {
      name: 'Orchard',
      secret: '',
      lines: [],
      roles: [],
      admins: [],
    });
    assert.deepEqual(
      read(field('size'), field('since', ''), field('owner', ''), field('open'), field('whois', '')),
      { name: 'Orchard' },
      'no value of its type, so none',
    );
  });

  it('is cancelled', () => {
    assert.equal(room.read(x('', 'cancel')), undefined);
  });

  const refused: readonly (readonly [StanzaErrorCondition, string])[] = [
    ['not-acceptable', ''],
    ['not-acceptable', field('name')],
    ['not-acceptable', field('name', '')],
    ['not-acceptable', field('name', 'longer than ten')],
    ['not-acceptable', named + field('open', 'maybe')],
    ['not-acceptable', named + field('whois', 'nobody')],
    ['not-acceptable', named + field('whois', 'toString')],
    ['not-acceptable', named + field('roles', 'a', 'd')],
    ['not-acceptable', named + field('owner', 'a@b@c')],
    ['not-acceptable', named + field('admins', 'a@b', '@')],
    ['not-acceptable', named + field('size', '0')],
    ['not-acceptable', named + field('size', '101')],
    ['not-acceptable', named + field('size', '1.5')],
    ['not-acceptable', named + field('size', '1e1')],
    ['not-acceptable', named + field('size', 'max')],
    ['not-acceptable', named + field('items', '-1')],
    ['not-acceptable', named + field('items', '99999999999999999999')],
    ['not-acceptable', named + field('items', 'most')],
    ['not-acceptable', named + field('since', 'yesterday')],
    ['not-acceptable', named + field('since', '1970-01-01')],
    ['not-acceptable', named + field('day', '1970-02-30')],
    ['bad-request', named + field('size', '1', '2')],
    ['bad-request', named + field('secret', '1', '2')],
    ['bad-request', named + named],
    ['bad-request', field('FORM_TYPE', 'urn:other') + named],
  ];
  for (const [condition, content] of refused) {
    it(`answers ${condition} to ${content || 'nothing'}`, () => fails(condition, () => room.read(x(content))));
  }

  it('answers bad-request to a form that is not submitted', () => {
    fails('bad-request', () => room.read(undefined));
    fails('bad-request', () => room.read(x(named, 'form')));
    fails('bad-request', () => room.read(x(named, 'result')));
  });

  it('refuses unknown fields if its XEP requires it', () => {
    const filter = defineForm('urn:example:filter', { with: { type: 'jid-single' } }, { unknown: 'refuse' });
    assert.equal(filter.read(x(field('FORM_TYPE', 'urn:example:filter') + field('with', 'a@b')))?.with?.full, 'a@b');
    fails('feature-not-implemented', () => filter.read(x(field('without', 'a@b'))));
    fails('feature-not-implemented', () => filter.read(x(field('toString', 'a'))));
  });
});
