/** Numbers of stores, which never change. */
import type { Shape, StoreName } from '../contract.js';
import type { Query } from './connection.js';
import type { StoreRef } from './operations.js';
import type { Statements } from './statements.js';
import { restored, stored, textArray } from './text.js';

export class Stores {
  readonly #statements: Statements;
  readonly #refs = new Map<string, StoreRef>();

  constructor(statements: Statements) {
    this.#statements = statements;
  }

  ref(shape: Shape, name: string): StoreRef {
    const key = `${shape} ${stored(name)}`;
    let ref = this.#refs.get(key);
    if (ref === undefined) this.#refs.set(key, (ref = { shape, name, number: undefined }));
    return ref;
  }

  /** Sets the numbers of stores that exist, or creates them. */
  async resolve(query: Query, refs: readonly StoreRef[], create: boolean): Promise<void> {
    const names = [textArray(refs.map(({ shape }) => shape)), textArray(refs.map(({ name }) => stored(name)))];
    if (create) {
      const insert = this.#statements.of(
        'store insert',
        `INSERT INTO $.store (shape, name) SELECT shape, name FROM unnest($1::text[], $2::text[]) AS u (shape, name)
         WHERE NOT EXISTS (SELECT 1 FROM $.store AS s WHERE s.shape = u.shape AND s.name = u.name)
         ON CONFLICT DO NOTHING`,
      );
      await query(insert, names);
    }
    const select = this.#statements.of(
      'store numbers',
      `SELECT s.shape, s.name, s.number FROM unnest($1::text[], $2::text[]) AS u (shape, name)
       JOIN $.store AS s ON s.shape = u.shape AND s.name = u.name`,
    );
    for (const [shape, name, number] of await query(select, names)) {
      const ref = this.#refs.get(`${shape} ${name}`);
      if (ref !== undefined) ref.number = number as number;
    }
  }

  async list(query: Query): Promise<StoreName[]> {
    const rows = await query(this.#statements.of('store list', 'SELECT shape, name FROM $.store ORDER BY number'));
    return rows.map(([shape, name]) => ({ shape: shape as Shape, name: restored(name as string) }));
  }
}
