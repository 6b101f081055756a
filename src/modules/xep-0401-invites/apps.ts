/** Apps that open the link of an invitation, or in which its parts can be entered, and where they are installed from. */

export type Platform = 'Android' | 'iPhone, iPad' | 'Mac' | 'Windows' | 'Linux';

export interface App {
  readonly name: string;
  /** Names of stores and pages, with their addresses. */
  readonly from: readonly (readonly [store: string, url: string])[];
}

const dino: App = { name: 'Dino', from: [['Flathub', 'https://flathub.org/apps/im.dino.Dino']] };
const gajim: App = { name: 'Gajim', from: [['gajim.org', 'https://gajim.org/download/']] };

export const apps: Readonly<Record<Platform, readonly App[]>> = {
  Android: [
    {
      name: 'Conversations',
      from: [
        ['Google Play', 'https://play.google.com/store/apps/details?id=eu.siacs.conversations'],
        ['F-Droid', 'https://f-droid.org/packages/eu.siacs.conversations/'],
      ],
    },
    { name: 'Cheogram', from: [['F-Droid', 'https://f-droid.org/packages/com.cheogram.android/']] },
  ],
  'iPhone, iPad': [
    { name: 'Monal', from: [['App Store', 'https://apps.apple.com/app/id317711500']] },
    { name: 'Siskin IM', from: [['App Store', 'https://apps.apple.com/app/id1153516838']] },
  ],
  Mac: [
    { name: 'Monal', from: [['App Store', 'https://apps.apple.com/app/id1637078500']] },
    { name: 'Beagle IM', from: [['beagle.im', 'https://beagle.im/']] },
  ],
  Windows: [gajim],
  Linux: [dino, gajim],
};

/** That of a visitor, by the User-Agent header. */
export function platformOf(agent = ''): Platform {
  if (/android/i.test(agent)) return 'Android';
  if (/iphone|ipad|ipod/i.test(agent)) return 'iPhone, iPad';
  if (/macintosh|mac os/i.test(agent)) return 'Mac';
  return /windows/i.test(agent) ? 'Windows' : 'Linux';
}
