/** Values for `IN (…)`. */

const shapes = [1, 8, 64].map((length) => ({ length, places: `(${Array<string>(length).fill('?').join()})` }));
const longest = shapes.at(-1)!;

/**
 * Splits the distinct values into pieces of a few fixed lengths, so that prepared statements can be reused; the last
 * piece is padded by repeating a value.
 */
export function* inPieces(wanted: Iterable<string>): Generator<{ readonly places: string; readonly values: string[] }> {
  const all = [...new Set(wanted)];
  for (let at = 0; at < all.length; at += longest.length) {
    const values = all.slice(at, at + longest.length);
    const { length, places } = shapes.find((shape) => shape.length >= values.length)!;
    while (values.length < length) values.push(values[0]!);
    yield { places, values };
  }
}
