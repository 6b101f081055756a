/** Unconsumed input: in one buffer, or in one buffer per WebSocket message (RFC 7395). */
export class Unread {
  /** Unconsumed bytes are in `buffer` from `start` to `end`; scanned up to `at`. */
  protected buffer: Buffer | undefined;
  /** Whether `buffer` is private and may be appended to. */
  private owned = false;
  protected start = 0;
  protected at = 0;
  protected end = 0;
  protected view: DataView | undefined;
  private frames: Buffer[] | undefined;

  /** Number of unconsumed bytes. */
  get buffered(): number {
    let count = this.end - this.start;
    if (this.frames !== undefined) for (const frame of this.frames) count += frame.length;
    return count;
  }

  /** Adds a chunk. If `framed`, it is a complete message. */
  protected take(chunk: Buffer, framed: boolean): void {
    if (this.buffer === undefined) {
      this.buffer = chunk;
      this.owned = false;
      this.start = this.at = 0;
      this.end = chunk.length;
    } else if (framed) {
      (this.frames ??= []).push(chunk);
    } else {
      this.append(chunk);
    }
  }

  /** Returns a view of the buffer for reading words, if enough input is left to be worth it. */
  protected lookAt(buffer: Buffer, at: number): DataView | undefined {
    if (this.view === undefined && this.end - at > 128) {
      this.view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
    }
    return this.view;
  }

  /** Moves on to the next message, if one has arrived. */
  protected nextFrame(): void {
    const next = this.frames?.shift();
    if (this.frames?.length === 0) this.frames = undefined;
    this.buffer = next;
    this.view = undefined;
    this.start = this.at = 0;
    this.end = next === undefined ? 0 : next.length;
  }

  /** Takes out the unconsumed bytes: in one piece, or a piece for each message. */
  takeRest(): Buffer[] {
    const rest = this.frames ?? [];
    if (this.end > this.start) rest.unshift(this.buffer!.subarray(this.start, this.end));
    this.drop();
    return rest;
  }

  protected drop(): void {
    this.buffer = this.view = this.frames = undefined;
    this.owned = false;
    this.start = this.at = this.end = 0;
  }

  /**
   * More bytes are needed: copies the unconsumed ones to a buffer of their own size, so that the chunk can be freed.
   */
  protected compact(): void {
    const left = this.end - this.start;
    if (this.owned && this.buffer!.length <= 4 * left + 256) return;
    this.move(Buffer.allocUnsafeSlow(Math.max(64, left + (left >> 1))));
  }

  /** Moves the unconsumed bytes to the start of `to`, which may be the current buffer. */
  private move(to: Buffer): void {
    to.set(this.buffer!.subarray(this.start, this.end));
    this.buffer = to;
    this.view = undefined;
    this.owned = true;
    this.at -= this.start;
    this.end -= this.start;
    this.start = 0;
  }

  private append(chunk: Buffer): void {
    const buffer = this.buffer!;
    const size = this.end - this.start + chunk.length;
    if (!this.owned || this.end + chunk.length > buffer.length)
      this.move(this.owned && size <= buffer.length ? buffer : Buffer.allocUnsafeSlow(size + (size >> 1)));
    this.buffer!.set(chunk, this.end);
    this.end += chunk.length;
  }
}
