/** Schemas of the stored records of rooms. */
import { z } from 'zod';
import { alike, bareJid, sentXml, whole } from '../../server/stanza/stored.js';
import { affiliations } from './privileges.js';
import type { Member, StoredRoom } from './room.js';
import type { RoomConfig } from './room-config.js';
import { defaultsOf, settings } from './settings.js';

export const storedMember: z.ZodType<Member> = z.object({
  affiliation: z.enum(affiliations).exclude(['none']),
  nick: z.string().optional(),
  reason: z.string().optional(),
});

const level = z.enum(['participants', 'moderators', 'none']);

export const storedRoom: z.ZodType<StoredRoom> = z.object({
  v: z.literal(1),
  // Settings added since the record was written are missing.
  config: alike<RoomConfig>(defaultsOf(settings.parse({}))),
  creator: bareJid,
  created: whole,
  secret: z.string().min(1),
  subject: z.object({ text: z.string(), xml: sentXml, at: whole }).optional(),
  avatar: z.array(z.string()).optional(),
  tokens: z
    .array(z.object({ token: z.string(), creator: bareJid, until: z.number().optional(), left: z.number().optional() }))
    .optional(),
  hats: z.array(z.object({ uri: z.string(), title: z.string(), hue: z.string().optional() })).optional(),
  wearers: z.record(z.string(), z.array(z.string())).optional(),
  mentions: z
    .object({
      count: whole,
      individual: level,
      channel: level,
      space: level,
      server: level,
      associations: level,
      hats: level,
    })
    .optional(),
});
