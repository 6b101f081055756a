/** The texts of the pages in English. Each other language has a file with the same names (texts-de.ts). */

/** The parts of the page, each with an address of its own below that of the page. */
export const sections = ['overview', 'password', 'devices', 'notifications', 'files', 'export', 'removal'] as const;
export type Section = (typeof sections)[number];

/** What a page says after a form was sent. */
export const notices = [
  'signedOut',
  'passwordChanged',
  'ended',
  'endedOthers',
  'notThere',
  'appsRemoved',
  'filesDeleted',
] as const;
export type Notice = (typeof notices)[number];

/** Why a form was refused. */
export type Problem =
  | 'wrong'
  | 'later'
  | 'cookies'
  | 'signedOut'
  | 'outdated'
  | 'sent'
  | 'insecure'
  | 'wrongPassword'
  | 'missing'
  | 'tooShort'
  | 'unusable'
  | 'different'
  | 'otherAddress'
  | 'nothingChosen'
  | 'busy'
  | 'unavailable';

export interface Texts {
  readonly title: string;
  readonly sections: Readonly<Record<Section, string>>;
  readonly skip: string;
  readonly navigation: string;
  readonly signedInAs: string;
  readonly signOut: string;
  readonly signIn: string;
  readonly signInAt: (domain: string) => string;
  readonly address: string;
  readonly password: string;
  readonly openChat: string;
  readonly error: string;
  readonly problems: Readonly<Record<Problem, string>>;
  readonly notices: Readonly<Record<Notice, string>>;
  readonly goOn: string;
  readonly about: Readonly<Record<Exclude<Section, 'overview'>, string>>;
  readonly currentPassword: string;
  readonly newPassword: string;
  readonly again: string;
  readonly passwordRule: (least: number) => string;
  readonly endOthersToo: string;
  readonly changePassword: string;
  readonly afterChange: string;
  readonly connected: string;
  readonly connectedNote: string;
  readonly noneConnected: string;
  readonly app: string;
  readonly name: string;
  readonly since: string;
  readonly from: string;
  readonly disconnected: string;
  readonly unnamed: string;
  readonly remembered: string;
  readonly rememberedNote: string;
  readonly noneRemembered: string;
  readonly until: string;
  readonly pages: string;
  readonly thisPage: string;
  readonly action: string;
  readonly end: string;
  readonly revoke: string;
  readonly endOf: (name: string) => string;
  readonly revokeOf: (name: string) => string;
  readonly endOthers: string;
  readonly endOthersNote: string;
  readonly more: (shown: number, all: number) => string;
  readonly notificationsNote: string;
  readonly noApps: string;
  readonly service: string;
  readonly enabled: string;
  readonly remove: string;
  readonly removeOf: (name: string) => string;
  readonly noFiles: string;
  readonly usage: (files: number, size: string) => string;
  readonly file: string;
  readonly size: string;
  readonly uploaded: string;
  readonly expires: string;
  readonly never: string;
  readonly choose: string;
  readonly chooseOf: (name: string) => string;
  readonly deleteFiles: string;
  readonly deleteNote: string;
  readonly newer: string;
  readonly older: string;
  readonly pageOf: (page: number, pages: number) => string;
  readonly exportNote: string;
  readonly download: string;
  readonly removalNote: string;
  readonly typeAddress: (address: string) => string;
  readonly removeAccount: string;
  readonly removed: string;
  readonly removedNote: (address: string) => string;
}

export const en: Texts = {
  title: 'Your account',
  sections: {
    overview: 'Overview',
    password: 'Password',
    devices: 'Devices',
    notifications: 'Notifications',
    files: 'Files',
    export: 'Download your data',
    removal: 'Delete the account',
  },
  skip: 'Skip to the content',
  navigation: 'Your account',
  signedInAs: 'Signed in as',
  signOut: 'Sign out',
  signIn: 'Sign in',
  signInAt: (domain) => `Sign in to your account at ${domain}`,
  address: 'Address',
  password: 'Password',
  openChat: 'Open the chat',
  error: 'Error',
  problems: {
    wrong: 'The address or the password is not right.',
    later: 'There were too many attempts. Wait some minutes, and then try again.',
    cookies: 'The form has expired, or your browser does not accept cookies, which this page needs. Try again.',
    signedOut: 'You are not signed in any more. Nothing was changed. Sign in again.',
    outdated: 'The form was not made for this page, or has expired. Nothing was changed. Try again.',
    sent: 'This form was sent before. Nothing was done a second time.',
    insecure: 'The connection is not encrypted. Open this page with https.',
    wrongPassword: 'The password is not right.',
    missing: 'Fill in this field.',
    tooShort: 'The password is too short.',
    unusable: 'This password is too long, or has characters that cannot be used. Choose another one.',
    different: 'This is not the same password. Enter it twice.',
    otherAddress: 'This is not the address of your account.',
    nothingChosen: 'Choose at least one file.',
    busy: 'Your data is being downloaded already, or was too often. Try again later.',
    unavailable: 'The server cannot do this at the moment. Try again later.',
  },
  notices: {
    signedOut: 'You are signed out.',
    passwordChanged: 'The password was changed. Sign in with the new one, here and in your apps.',
    ended: 'It was signed out.',
    endedOthers: 'Everything else was signed out.',
    notThere: 'It was not there any more. Nothing was changed.',
    appsRemoved: 'The app gets no more notifications.',
    filesDeleted: 'The files were deleted.',
  },
  goOn: 'Go on',
  about: {
    password: 'Change the password of your account.',
    devices: 'See which apps are signed in, and sign them out.',
    notifications: 'See which apps are woken by notifications.',
    files: 'See and delete the files that you have sent.',
    export: 'Get everything that is stored for you, or take it to another server.',
    removal: 'Delete your account with all its data.',
  },
  currentPassword: 'Your current password',
  newPassword: 'The new password',
  again: 'The new password again',
  passwordRule: (least) => `At least ${least} characters.`,
  endOthersToo: 'Sign out all my apps too',
  changePassword: 'Change the password',
  afterChange: 'Afterwards you sign in again on this page.',
  connected: 'Connected apps',
  connectedNote:
    'An app that knows your password can sign in again. To keep it out, change your password as well, and sign out all apps.',
  noneConnected: 'No app is connected.',
  app: 'App',
  name: 'Name',
  since: 'Since',
  from: 'Network address',
  disconnected: 'not connected at the moment',
  unnamed: 'without a name',
  remembered: 'Remembered devices',
  rememberedNote: 'They can sign in without the password until then.',
  noneRemembered: 'No device is remembered.',
  until: 'Until',
  pages: 'This page',
  thisPage: 'this browser',
  action: 'Action',
  end: 'Sign out',
  revoke: 'Forget',
  endOf: (name) => `Sign out ${name}`,
  revokeOf: (name) => `Forget ${name}`,
  endOthers: 'Sign out everything else',
  endOthersNote: 'Signs out all apps, forgets all devices, and signs out this page in all other browsers.',
  more: (shown, all) => `The first ${shown} of ${all} are shown.`,
  notificationsNote:
    'These apps are woken by a service of their maker when there is something new. Turn it on again in the app.',
  noApps: 'No app gets notifications.',
  service: 'Service',
  enabled: 'Since',
  remove: 'Remove',
  removeOf: (name) => `Remove ${name}`,
  noFiles: 'You have no files on this server.',
  usage: (files, size) => (files === 1 ? `One file, ${size}.` : `${files} files, ${size} together.`),
  file: 'File',
  size: 'Size',
  uploaded: 'Sent',
  expires: 'Deleted on',
  never: 'never',
  choose: 'Choose',
  chooseOf: (name) => `Choose ${name}`,
  deleteFiles: 'Delete the chosen files',
  deleteNote: 'Nobody can open them any more. Those who have downloaded a file still have it.',
  newer: 'Newer files',
  older: 'Older files',
  pageOf: (page, pages) => `Page ${page} of ${pages}`,
  exportNote:
    'The file has your contacts, messages and settings in a format that other servers can read (XEP-0227). It does not have your password, and not the files that you have sent. Keep it where nobody else can read it.',
  download: 'Download',
  removalNote:
    'Your contacts, messages, settings and files are deleted at once, and all apps are signed out. Nobody can undo it. Download your data first if you want to keep it.',
  typeAddress: (address) => `Type the address of your account: ${address}`,
  removeAccount: 'Delete the account for good',
  removed: 'Your account is deleted',
  removedNote: (address) => `${address} and everything that was stored for it are deleted.`,
};
