/** Statements in a PostgreSQL schema, by name. The names of their tables are written `$.table`. */
import type { Statement } from './connection.js';
import { inSchema } from './migrations.js';
import type { NewOwner, PutKind } from './operations.js';
import { hostOf, intArray, stored, textArray } from './text.js';

export class Statements {
  readonly #schema: string;
  readonly #known = new Map<string, Statement>();
  /** Begins a session of a lane. */
  readonly session: Statement;
  /** Checks and counts a commit: migrations.ts. */
  readonly tick: Statement;
  readonly newOwners: PutKind<NewOwner>;

  constructor(schema: string) {
    this.#schema = schema;
    this.session = this.of(
      'session',
      `UPDATE $.lane SET session = session + 1 WHERE handle = $1 AND lane = $2
       RETURNING session, commit::text, result`,
    );
    this.tick = this.of('tick', 'SELECT $.tick($1, $2, $3, $4, $5, 0, 0)');
    this.newOwners = {
      statement: this.of(
        'new owners',
        // $1 to $5 are not needed: a statement that is not checked is never the last one.
        `INSERT INTO $.owner (store, name, host)
         SELECT store, name, host FROM unnest($6::int2[], $7::text[], $8::text[]) AS e (store, name, host)
         WHERE coalesce($1::int8, $2::int8, $3::int8, $4::int8, $5::int8) IS NOT NULL
         ON CONFLICT DO NOTHING`,
      ),
      isNumbered: false,
      values: (owners) => [
        intArray(owners.map(({ store }) => store.number!)),
        textArray(owners.map(({ name }) => stored(name))),
        textArray(owners.map(({ name }) => hostOf(stored(name)))),
      ],
    };
  }

  /** Returns a statement, which is prepared on its first use in a connection. A name always has the same text. */
  of(name: string, text: string): Statement {
    let statement = this.#known.get(name);
    if (statement === undefined) {
      statement = { name: `waxwing ${this.#known.size}`, text: inSchema(this.#schema, text) };
      this.#known.set(name, statement);
    }
    return statement;
  }

  /** Returns the rows of deletions (operations.ts), with the numbers of the owners. */
  readonly cutRows = `SELECT u.at, o.number, u.key
    FROM unnest($1::int4[], $2::int2[], $3::text[], $4::text[]) AS u (at, store, owner, key)
    JOIN $.owner AS o ON o.store = u.store AND o.name = u.owner`;

  /** Returns the statement of puts: `rows` are written by `insert`, which uses $6 and later parameters. */
  put(name: string, rows: string, insert: string, others = ''): Statement {
    return this.of(
      name,
      `WITH e AS MATERIALIZED (${rows}), written AS (${insert} RETURNING 1)${others}
       SELECT $.tick($1, $2, $3, $4, NULL, $5, (SELECT count(*)::int4 FROM written))`,
    );
  }
}
