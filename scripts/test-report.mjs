/** The reporter of test-lane.mjs: sends the parent what its lines and totals need, and writes nothing. */
import { Transform } from 'node:stream';
import { inspect } from 'node:util';

export default new Transform({
  writableObjectMode: true,
  transform({ type, data }, _encoding, done) {
    if (type === 'test:pass' || type === 'test:fail') {
      const { name, nesting, details, skip, todo } = data;
      const { error } = details;
      process.send({
        kind: nesting === 0 ? 'file' : details.type === 'suite' ? 'suite' : 'test',
        name,
        isSkipped: skip !== undefined,
        isTodo: todo !== undefined,
        // a suite fails because of its tests, which are reported themselves
        ...(error !== undefined &&
          error.failureType !== 'subtestsFailed' && { error: inspect(error.cause ?? error, { depth: 4 }) }),
      });
    } else if (type === 'test:dequeue') {
      process.send({ kind: 'begun', name: data.name });
    } else if (type === 'test:diagnostic' && /asynchronous activity/.test(data.message)) {
      process.send({ kind: 'late', name: 'after the end of a test', error: data.message });
    }
    done();
  },
});
