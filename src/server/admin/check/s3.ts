import type { Config } from '../../config/schema.js';
import { type Finding, unusable } from './finding.js';

/** Of the bucket of uploaded files: whether the server can use it. */
export async function checkS3(settings: Config['storage']['s3']): Promise<Finding[]> {
  const { examine } = await import('../../../storage/s3/examine.js');
  const area = 'storage';
  try {
    const { where, owner, isVersioned } = await examine(settings);
    const findings: Finding[] = [];
    const whose =
      owner === undefined ? 'nobody has used it yet' : `it belongs to the server ${owner || 'of an unreadable id'}`;
    findings.push({ area, level: 'ok', what: `${where}: can be read and written; ${whose}` });
    if (isVersioned === true)
      findings.push({
        area,
        level: 'warning',
        what: `${where}: it keeps versions`,
        why: 'Deleted files stay as old versions, and can be read by whoever has access to the bucket.',
        advice: 'Add a lifecycle rule that deletes old versions, or suspend versioning.',
      });
    return findings;
  } catch (error) {
    return unusable(
      error,
      'The server will not start, or files cannot be uploaded.',
      'Compare [storage.s3] with docs/storage.md.',
    );
  }
}
