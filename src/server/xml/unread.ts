/** Bytes that have come in and have not been consumed: in one buffer, or a message each in its own (RFC 7395). */
export class Unread {
  /** What has not been consumed lies in `buffer` from `start` to `end`; scanned so far up to `at`. */
  protected buffer: Buffer | undefined;
  /** `buffer` is our own, to append to. */
  private owned = false;
  protected start = 0;
  protected at = 0;
  protected end = 0;
  protected view: DataView | undefined;
  private frames: Buffer[] | undefined;

  /** Bytes that have not been consumed. */
  get buffered(): number {
    let count = this.end - this.start;
    if (this.frames !== undefined) for (const frame of this.frames) count += frame.length;
    return count;
  }

  /** `framed`: the chunk is a message of its own. */
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

  /** A view of the buffer for reading words, where enough is left to make it worth while. */
  protected lookAt(buffer: Buffer, at: number): DataView | undefined {
    if (this.view === undefined && this.end - at > 128) {
      this.view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
    }
    return this.view;
  }

  /** The next message, if one has come in. */
  protected nextFrame(): void {
    const next = this.frames?.shift();
    if (this.frames?.length === 0) this.frames = undefined;
    this.buffer = next;
    this.view = undefined;
    this.start = this.at = 0;
    this.end = next === undefined ? 0 : next.length;
  }

  protected drop(): void {
    this.buffer = this.view = this.frames = undefined;
    this.owned = false;
    this.start = this.at = this.end = 0;
  }

  /** More bytes are needed: what is there moves to a buffer of its own size, so that no chunk is held. */
  protected keep(): void {
    const left = this.end - this.start;
    if (this.owned && this.buffer!.length <= 4 * left + 256) return;
    this.move(Buffer.allocUnsafeSlow(Math.max(64, left + (left >> 1))));
  }

  /** What is there goes to the beginning of this buffer, which may be the present one. */
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
