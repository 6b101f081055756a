/**
 * Documents generated from the code, by path: the implemented specifications as a page and as a DOAP file (XEP-0453),
 * and the references of configuration and commands.
 */
import { allCommands } from './admin/commands.js';
import { cliReference } from './admin/help.js';
import { configReference } from './config/reference.js';
import type { ModuleDefinition } from './module/index.js';
import { type CoreSpecification, coreSpecifications, titles } from './specifications.js';
import { type Element, el, serialize } from './xml/element.js';

/** From package.json. */
export interface Project {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly license: string;
  readonly homepage?: string;
}

const doapNs = 'http://usefulinc.com/ns/doap#';
/** RFCs that xmpp.org hosts. */
const xmppRfcs = ['3921', '6120', '6121', '7395', '7590', '7622'];

interface Row {
  readonly spec: string;
  readonly title: string;
  readonly versions: readonly string[];
  /** Names of modules as code, or places in the server. */
  readonly where: readonly string[];
  /** What is not implemented. */
  readonly notes: readonly string[];
}

/**
 * Generates the documents, by path. `all`: the modules that come with the server. Throws if a specification has no
 * title.
 */
export function documents(all: readonly ModuleDefinition[], project: Project): ReadonlyMap<string, string> {
  const modules = [...all].sort((a, b) => (a.name < b.name ? -1 : 1));
  const rows = rowsOf(modules);
  const reference = configReference(modules);
  return new Map([
    ['docs/xeps.md', page(rows, modules)],
    ['doap.xml', doap(rows, project)],
    ['docs/configuration.md', reference.markdown],
    ['conf/reference.toml', reference.toml],
    ['docs/cli.md', cliReference(allCommands(modules))],
  ]);
}

/** A row per specification: RFCs first, then by number. */
function rowsOf(modules: readonly ModuleDefinition[]): Row[] {
  const claims = [
    ...coreSpecifications,
    ...modules.flatMap(({ name, implements: specs, notes }) =>
      Object.entries(specs).map(
        ([spec, version], n): CoreSpecification => ({
          spec,
          where: `\`${name}\``,
          ...(spec.startsWith('XEP') && { version }),
          // Notes of a module are about its first specification.
          ...(notes !== undefined && n === 0 && { notes }),
        }),
      ),
    ),
  ];
  const names = [...new Set(claims.map(({ spec }) => spec))].sort();
  return names.map((spec) => {
    const title = titles[spec];
    if (title === undefined) throw new Error(`${spec} has no title; add one to specifications.ts`);
    const own = claims.filter((claim) => claim.spec === spec);
    return {
      spec,
      title,
      versions: distinct(own.flatMap(({ version }) => version ?? [])),
      where: distinct(own.map(({ where }) => where)),
      notes: distinct(own.flatMap(({ notes }) => notes ?? [])),
    };
  });
}

function page(rows: readonly Row[], modules: readonly ModuleDefinition[]): string {
  const specifications = rows.map(({ spec, title, versions, where, notes }) => [
    `[${spec}](${addressOf(spec)})`,
    title,
    versions.join(', '),
    where.join(', '),
    notes.join(' '),
  ]);
  const features = modules.map(({ name, summary, implements: specs, optional }) => [
    `\`${name}\``,
    summary,
    Object.keys(specs).sort().join(', '),
    optional ? 'off' : 'on',
  ]);
  return [
    '# Specifications',
    '<!-- Made by `npm run docs` from the modules and src/server/specifications.ts. -->',
    'What is implemented, in which version, and where: modules are named `so`, all else is a folder of `src/server`.',
    table(['Specification', 'Title', 'Version', 'Where', 'Left out'], specifications),
    '## Modules',
    `${table(['Module', 'What it does', 'Specifications', 'By default'], features)}\n`,
  ].join('\n\n');
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [head, head.map(() => '---'), ...rows].map(line).join('\n');
}

function doap(rows: readonly Row[], project: Project): string {
  const resource = (name: string, address: string) => el(name, { 'rdf:resource': address });
  const implemented = rows.map(({ spec, versions, notes }) =>
    spec.startsWith('RFC')
      ? resource('implements', addressOf(spec))
      : el(
          'implements',
          null,
          el(
            'xmpp:SupportedXep',
            null,
            resource('xmpp:xep', addressOf(spec)),
            el('xmpp:status', null, notes.length === 0 ? 'complete' : 'partial'),
            el('xmpp:version', null, versions.join(', ')),
            notes.length === 0 ? undefined : el('xmpp:note', { 'xml:lang': 'en' }, notes.join(' ')),
          ),
        ),
  );
  const described = el(
    'Project',
    null,
    el('name', null, project.name),
    el('shortdesc', { 'xml:lang': 'en' }, project.description),
    project.homepage === undefined ? undefined : resource('homepage', project.homepage),
    resource('license', `https://spdx.org/licenses/${project.license}.html`),
    el('programming-language', null, 'TypeScript'),
    el('os', null, 'Linux'),
    resource('category', 'https://linkmauve.fr/ns/xmpp-doap#category-server'),
    ...implemented,
  );
  const root = el(
    'rdf:RDF',
    {
      'xmlns:rdf': 'http://www.w3.org/1999/02/22-rdf-syntax-ns#',
      xmlns: doapNs,
      'xmlns:xmpp': 'https://linkmauve.fr/ns/xmpp-doap#',
    },
    described,
  );
  return `<?xml version="1.0" encoding="UTF-8"?>\n${indented(root)}`;
}

/** Puts every element without text on its own line. */
function indented(element: Element, depth = 0): string {
  const margin = '  '.repeat(depth);
  const children = element.getChildElements();
  if (children.length === 0) return `${margin}${serialize(element, doapNs)}\n`;
  const [start, end] = serialize(el(element.name, element.attrs, '\n'), depth === 0 ? '' : doapNs).split('\n');
  return `${margin}${start}\n${children.map((child) => indented(child, depth + 1)).join('')}${margin}${end}\n`;
}

function addressOf(spec: string): string {
  const [kind, number = ''] = spec.split(' ');
  if (kind === 'RFC' && xmppRfcs.includes(number)) return `https://xmpp.org/rfcs/rfc${number}.html`;
  if (kind === 'RFC') return `https://www.rfc-editor.org/rfc/rfc${number}`;
  return `https://xmpp.org/extensions/${spec.toLowerCase()}.html`;
}

const distinct = (texts: readonly string[]): string[] => [...new Set(texts)];
