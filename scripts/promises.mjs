/**
 * Finds unhandled promises: if one rejects, the process ends or the failure is silent. Biome's rule of that
 * name does not follow types into other files, so this asks the compiler. A promise is watched if it is awaited,
 * returned, stored or passed on, if it has a rejection handler (`catch`, or `then` with two functions), or if it is marked
 * with `void` and the documentation of the function that made it says "Never rejects".
 */
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SyntaxKind } from 'typescript/unstable/ast';
import { API, SignatureKind } from 'typescript/unstable/sync';
import { root } from './setup.mjs';

const sources = join(root, 'src/');
const { AwaitExpression, BinaryExpression, CallExpression, ExpressionStatement, VoidExpression } = SyntaxKind;
const isFunction = (node) => node.kind === SyntaxKind.ArrowFunction || node.kind === SyntaxKind.FunctionExpression;

/** Prints each unwatched promise of `src`. Returns whether there is none. In tests, node:test fails on them. */
export function watchPromises(config = 'tsconfig.json') {
  const api = new API({ cwd: root });
  try {
    const project = api.updateSnapshot({ openProjects: [config] }).getProjects()[0];
    const names = project.program.getSourceFileNames().filter((name) => name.startsWith(sources));
    const findings = names.flatMap((name) => findingsIn(project, project.program.getSourceFile(name)));
    for (const { file, line, what } of findings) console.error(`${relative(root, file)}:${line}: ${what}`);
    return findings.length === 0;
  } finally {
    api.close();
  }
}

function findingsIn({ checker }, file) {
  const candidates = [];
  const callbacks = [];
  const visit = (node) => {
    if (node.kind === ExpressionStatement || node.kind === VoidExpression) {
      const expression = dropped(node.expression);
      if (expression !== undefined) candidates.push({ node: expression, isMarked: node.kind === VoidExpression });
    }
    if (isFunction(node) && node.parent.kind === CallExpression && !isHandled(node.body)) callbacks.push(node);
    node.forEachChild(visit);
  };
  visit(file);

  const thenable = isThenable(checker);
  const types = candidates.length === 0 ? [] : checker.getTypeAtLocation(candidates.map(({ node }) => node));
  const unwatched = candidates.filter(
    ({ node, isMarked }, index) => thenable(types[index]) && !(isMarked && neverRejects(checker, node)),
  );
  const misused = callbacks.filter((node) => {
    const own = returned(checker, checker.getTypeAtLocation(node));
    if (own === undefined || !thenable(own)) return false;
    const wanted = returned(checker, checker.getContextualType(node));
    return wanted !== undefined && checker.typeToString(wanted) === 'void';
  });
  const lineOf = (node) => file.text.slice(0, node.getStart(file)).split('\n').length;
  return [
    ...unwatched.map(({ node }) => ({ file: file.fileName, line: lineOf(node), what: 'nobody watches this promise' })),
    ...misused.map((node) => ({
      file: file.fileName,
      line: lineOf(node),
      what: 'nobody watches the promise of this callback',
    })),
  ].sort((a, b) => a.line - b.line);
}

/** The expression whose value a statement drops, unless rejections are handled or the value has another use. */
function dropped(expression) {
  switch (expression.kind) {
    case AwaitExpression:
    case BinaryExpression: // an assignment
    case VoidExpression: // checked by itself
      return undefined;
    case CallExpression:
      return hasRejectionHandler(expression) ? undefined : expression;
    default:
      return expression;
  }
}

const isHandled = (body) => body.kind === CallExpression && hasRejectionHandler(body);

function hasRejectionHandler({ expression, arguments: given }) {
  const method = expression.kind === SyntaxKind.PropertyAccessExpression ? expression.name.text : undefined;
  return (method === 'catch' && given.length > 0) || (method === 'then' && given.length > 1);
}

function neverRejects(checker, node) {
  if (node.kind !== CallExpression) return false;
  const callee = node.expression.kind === SyntaxKind.PropertyAccessExpression ? node.expression.name : node.expression;
  const symbol = checker.getSymbolAtLocation(callee);
  return symbol !== undefined && /never\s+rejects/i.test(symbol.getDocumentationComment(checker));
}

function isThenable(checker) {
  const known = new Map();
  const look = (type) => {
    const parts = type.getTypes?.();
    if (parts !== undefined && parts.length > 0) return parts.some(thenable);
    return checker.getPropertyOfType(type, 'then') !== undefined;
  };
  const thenable = (type) => {
    if (type === undefined) return false;
    let is = known.get(type.id);
    if (is === undefined) known.set(type.id, (is = look(type)));
    return is;
  };
  return thenable;
}

function returned(checker, type) {
  const [signature] = type === undefined ? [] : checker.getSignaturesOfType(type, SignatureKind.Call);
  return signature && checker.getReturnTypeOfSignature(signature);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = watchPromises() ? 0 : 1;
