/** The texts of the pages in German. */
import type { Texts } from './texts.js';

export const de: Texts = {
  invitedTo: (domain) => `Sie sind zu ${domain} eingeladen`,
  invitedBy: (inviter) => `${inviter} lädt Sie zum Chatten ein`,
  invitedToRoom: (room) => `Sie sind in den Raum ${room} eingeladen`,
  enter: (room) => `${room} betreten`,
  getAccount: (domain) => `Ein Konto bei ${domain} anlegen`,
  add: (inviter) => `${inviter} hinzufügen`,
  install: 'Wenn nichts geschieht, installieren Sie zuerst eine App für XMPP und öffnen diese Seite dann noch einmal.',
  appMakesAccount: (domain) => `Die App bietet dann an, ein Konto bei ${domain} anzulegen.`,
  needsAccount:
    'Sie brauchen ein Konto, bei diesem Server oder bei einem anderen. Die meisten Apps helfen, eines zu bekommen.',
  scan: 'Oder scannen Sie dies mit der App auf Ihrem Telefon:',
  here: 'Hier ein Konto anlegen',
  name: 'Name',
  password: 'Passwort',
  passwordRule: (least) => `Mindestens ${least} Zeichen.`,
  create: 'Konto anlegen',
  refused: {
    taken: 'Dieser Name ist nicht verfügbar. Wählen Sie einen anderen.',
    unacceptable: 'Dieser Name oder dieses Passwort geht nicht. Wählen Sie ein anderes.',
    later: 'Im Moment gibt es zu viele Anmeldungen. Versuchen Sie es später noch einmal.',
    used: 'Diese Einladung ist für einen anderen Namen oder wurde schon benutzt.',
    insecure: 'Die Verbindung ist nicht verschlüsselt. Öffnen Sie diese Seite mit https.',
  },
  ready: 'Ihr Konto ist bereit',
  address: (account) =>
    `Ihre Adresse ist ${account}. Merken Sie sich das Passwort: Niemand kann es noch einmal zeigen.`,
  chat: 'Zum Chat',
  anyApp: 'Dasselbe Konto können Sie mit jeder dieser Apps benutzen:',
  explanation:
    'XMPP ist eine Art zu chatten, die keiner einzelnen Firma gehört: Sie können unter vielen Apps und Servern wählen. Wenn Sie nicht wissen, wer Ihnen diese Seite geschickt hat, schließen Sie sie einfach.',
  validUntil: (date) => `Die Einladung gilt bis ${date}.`,
  invalid: 'Diese Einladung ist ungültig, abgelaufen oder schon benutzt. Bitten Sie um eine neue.',
  tooMany: 'Zu viele Versuche. Versuchen Sie es später noch einmal.',
};
