/** The answers of S3, which are XML. */
import { SaxesParser } from 'saxes';

export interface Answer {
  readonly name: string;
  readonly children: readonly Answer[];
  /** Of the element itself. */
  readonly text: string;
}

interface Growing extends Answer {
  readonly children: Answer[];
  text: string;
}

/** Parses an answer. Returns undefined if it is not XML. */
export function parseAnswer(xml: string): Answer | undefined {
  const parser = new SaxesParser();
  const open: Growing[] = [];
  let root: Answer | undefined;
  parser.on('opentag', ({ name }) => {
    const element: Growing = { name, children: [], text: '' };
    open.at(-1)?.children.push(element);
    root ??= element;
    open.push(element);
  });
  parser.on('text', (text) => {
    const element = open.at(-1);
    if (element !== undefined) element.text += text;
  });
  parser.on('closetag', () => open.pop());
  parser.on('error', (error) => {
    throw error;
  });
  try {
    parser.write(xml).close();
  } catch {
    return undefined;
  }
  return root;
}

export const childrenOf = ({ children }: Answer, name: string): Answer[] =>
  children.filter((child) => child.name === name);

/** The text of a child; empty if there is none. */
export const textOf = ({ children }: Answer, name: string): string =>
  children.find((child) => child.name === name)?.text ?? '';

export const escaped = (text: string): string => text.replace(/[<>&]/g, (character) => `&#${character.charCodeAt(0)};`);
