/**
 * The encoding `aws-chunked` with a checksum behind the content
 * (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html), for contents whose checksum is not known
 * before they are sent.
 */

/** Bytes of a chunk. Stores have their own maximum, at least 8 MiB. */
const chunkBytes = 1_048_576;

const trailer = 'x-amz-checksum-crc32';

/** What is signed instead of a hash. */
export const framedPayload = 'STREAMING-UNSIGNED-PAYLOAD-TRAILER';

/** Headers of a request whose body of `length` bytes is framed. */
export const framedHeaders = (length: number): Record<string, string> => ({
  'content-encoding': 'aws-chunked',
  'x-amz-decoded-content-length': String(length),
  'x-amz-trailer': trailer,
});

const head = (length: number): string => `${length.toString(16)}\r\n`;
/** `checksum`: base64 of four bytes. */
const tail = (checksum: string): string => `0\r\n${trailer}:${checksum}\r\n\r\n`;

/** Frames a content of `size` bytes, more than 0, as it comes. */
export class Frames {
  /** Of the whole body. */
  readonly length: number;
  readonly #size: number;
  #at = 0;

  constructor(size: number) {
    this.#size = size;
    const whole = Math.floor(size / chunkBytes);
    const rest = size % chunkBytes;
    const framed = (length: number) => head(length).length + length + 2;
    this.length = whole * framed(chunkBytes) + (rest > 0 ? framed(rest) : 0) + tail('AAAAAA==').length;
  }

  frame(bytes: Uint8Array): Uint8Array[] {
    const pieces: Uint8Array[] = [];
    for (let from = 0; from < bytes.length; ) {
      const within = this.#at % chunkBytes;
      const chunk = Math.min(chunkBytes, this.#size - (this.#at - within));
      if (within === 0) pieces.push(Buffer.from(head(chunk)));
      const piece = bytes.subarray(from, from + chunk - within);
      pieces.push(piece);
      from += piece.length;
      this.#at += piece.length;
      if (within + piece.length === chunk) pieces.push(Buffer.from('\r\n'));
    }
    return pieces;
  }

  end(checksum: string): string {
    return tail(checksum);
  }
}
