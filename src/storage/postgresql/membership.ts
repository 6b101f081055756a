/**
 * Which node's epoch the commits of a handle belong to. Each commit updates the row of its lane; whoever ends an epoch
 * deletes the rows of its lanes, which waits for commits under way, and makes later ones fail.
 */
import { fenced, StorageError } from '../contract.js';
import type { Query } from './connection.js';
import type { Lanes } from './lanes.js';
import type { Statements } from './statements.js';
import { stored } from './text.js';

export class Membership {
  /** Number of the handle in the lane table. */
  readonly handle: string;
  readonly #statements: Statements;
  readonly #lanes: number;
  #member: { readonly node: string; readonly epoch: number } | undefined;
  #isJoining = false;
  #refusal: StorageError | undefined;

  private constructor(handle: string, statements: Statements, lanes: number) {
    this.handle = handle;
    this.#statements = statements;
    this.#lanes = lanes;
  }

  /** Creates the rows of a new handle. */
  static async create(query: Query, statements: Statements, lanes: number): Promise<Membership> {
    // Rows of processes that ended without closing. One that lives on creates its rows again: laneGone.
    await query(
      statements.of('lanes old', `DELETE FROM $.lane WHERE node IS NULL AND at < now() - interval '30 days'`),
    );
    const [row] = await query(statements.of('handle', `SELECT nextval('$.handle')::text`));
    const membership = new Membership(row![0] as string, statements, lanes);
    await membership.#createRows(query);
    return membership;
  }

  /** The error for all writes, once the epoch has ended. */
  get refusal(): StorageError | undefined {
    return this.#refusal;
  }

  /** Returns whether the rows exist again. */
  async laneGone(query: Query): Promise<boolean> {
    if (this.#member !== undefined) {
      this.#refusal ??= fenced(this.#member.node, this.#member.epoch);
      return false;
    }
    await this.#createRows(query);
    return true;
  }

  async join(lanes: Lanes, node: string, given: number | undefined): Promise<number> {
    if (this.#isJoining) throw new StorageError('locked', 'this handle has already joined as a node');
    this.#isJoining = true;
    try {
      const name = stored(node);
      const epoch = await lanes.changeAll(async (query) => {
        const [row] = await query(
          this.#statements.of(
            'join',
            `INSERT INTO $.node AS n (name, latest) VALUES ($1, coalesce($2::int8, 1))
             ON CONFLICT (name) DO UPDATE SET latest = greatest(n.latest, coalesce($2::int8, n.latest + 1))
             RETURNING latest::float8`,
          ),
          [name, given ?? null],
        );
        const epoch = given ?? (row![0] as number);
        await query(this.#statements.of('join end', 'DELETE FROM $.lane WHERE node = $1'), [name]);
        const assign = 'UPDATE $.lane SET node = $2, epoch = $3 WHERE handle = $1';
        await query(this.#statements.of('join lanes', assign), [this.handle, name, epoch]);
        return epoch;
      });
      this.#member = { node, epoch };
      return epoch;
    } finally {
      this.#isJoining = this.#member !== undefined;
    }
  }

  async fence(lanes: Lanes, node: string, epoch: number): Promise<void> {
    const end = this.#statements.of('fence', 'DELETE FROM $.lane WHERE node = $1 AND epoch = $2');
    const run = async (query: Query): Promise<void> => {
      await query(end, [stored(node), epoch]);
    };
    await lanes.changeAll(run, { isCheckedFirst: true, isUrgent: true });
    if (this.#member?.node === node && this.#member.epoch === epoch) this.#refusal ??= fenced(node, epoch);
  }

  /** Whether the epoch has ended is what the rows say when the server reads them. */
  async look(lanes: Lanes): Promise<void> {
    if (this.#member === undefined) return;
    const { node, epoch } = this.#member;
    const query = this.#statements.of('look', 'SELECT 1 FROM $.lane WHERE handle = $1 LIMIT 1');
    const rows = await lanes.read('', undefined, (run) => run(query, [this.handle]));
    if (rows.length === 0) this.#refusal ??= fenced(node, epoch);
    if (this.#refusal !== undefined) throw this.#refusal;
  }

  /** Deletes the rows of the handle. */
  async leave(query: Query): Promise<void> {
    await query(this.#statements.of('leave', 'DELETE FROM $.lane WHERE handle = $1'), [this.handle]);
  }

  async #createRows(query: Query): Promise<void> {
    const insert = `INSERT INTO $.lane (handle, lane) SELECT $1, n FROM generate_series(0, $2 - 1) AS n
      ON CONFLICT DO NOTHING`;
    await query(this.#statements.of('lanes', insert), [this.handle, this.#lanes]);
  }
}
