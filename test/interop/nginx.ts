/** What configurations of NGINX for tests have in common. */

/** In `http`: NGINX would create its temporary folders where it is installed. */
export const temporaryFolders = (folder: string): string =>
  [
    ['client_body', 'body'],
    ['proxy', 'proxy'],
    ['fastcgi', 'fastcgi'],
    ['uwsgi', 'uwsgi'],
    ['scgi', 'scgi'],
  ]
    .map(([what, name]) => `  ${what}_temp_path ${folder}/${name};`)
    .join('\n');
