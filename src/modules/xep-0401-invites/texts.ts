/** The texts of the pages in English. Each other language has a file with the same names (texts-de.ts). */

/** Why an account was not made. */
export type Refusal = 'taken' | 'unacceptable' | 'later' | 'used' | 'insecure';

export interface Texts {
  readonly invitedTo: (domain: string) => string;
  readonly invitedBy: (inviter: string) => string;
  readonly invitedToRoom: (room: string) => string;
  readonly enter: (room: string) => string;
  readonly getAccount: (domain: string) => string;
  readonly add: (inviter: string) => string;
  readonly install: string;
  readonly appMakesAccount: (domain: string) => string;
  readonly needsAccount: string;
  readonly scan: string;
  readonly here: string;
  readonly name: string;
  readonly password: string;
  readonly passwordRule: (least: number) => string;
  readonly create: string;
  readonly refused: Readonly<Record<Refusal, string>>;
  readonly ready: string;
  readonly address: (account: string) => string;
  readonly chat: string;
  readonly anyApp: string;
  readonly explanation: string;
  readonly validUntil: (date: string) => string;
  readonly invalid: string;
  readonly tooMany: string;
}

export const en: Texts = {
  invitedTo: (domain) => `You are invited to ${domain}`,
  invitedBy: (inviter) => `${inviter} invites you to chat`,
  invitedToRoom: (room) => `You are invited to the room ${room}`,
  enter: (room) => `Enter ${room}`,
  getAccount: (domain) => `Get an account at ${domain}`,
  add: (inviter) => `Add ${inviter}`,
  install: 'If nothing happens, install an app for XMPP first, and then open this page again.',
  appMakesAccount: (domain) => `The app then offers to make an account at ${domain}.`,
  needsAccount: 'You need an account, at this server or at any other. Most apps help you to get one.',
  scan: 'Or scan this with the app on your phone:',
  here: 'Make your account here',
  name: 'Name',
  password: 'Password',
  passwordRule: (least) => `At least ${least} characters.`,
  create: 'Create the account',
  refused: {
    taken: 'This name is not available. Choose another one.',
    unacceptable: 'This name or password cannot be used. Choose another one.',
    later: 'There are too many registrations at the moment. Try again later.',
    used: 'This invitation is for another name, or has been used.',
    insecure: 'The connection is not encrypted. Open this page with https.',
  },
  ready: 'Your account is ready',
  address: (account) => `Your address is ${account}. Keep your password: nobody can show it to you again.`,
  chat: 'Open the chat',
  anyApp: 'You can use the same account in any of these apps:',
  explanation:
    'XMPP is a kind of chat that does not belong to one company: you can choose among many apps and servers. If you do not know who sent you this page, just close it.',
  validUntil: (date) => `The invitation is valid until ${date}.`,
  invalid: 'This invitation is not valid, has expired or has been used. Ask for another one.',
  tooMany: 'Too many attempts. Try again later.',
};
