import { contacts } from './contacts.js';
import { ejabberd } from './ejabberd.js';
import { ends } from './ends.js';
import { files } from './files.js';
import { pep } from './pep.js';
import { rooms } from './rooms.js';
import { routes } from './routes.js';
import { federation } from './scene.js';
import { talk } from './talk.js';

federation('ejabberd', ejabberd, [...talk, ...contacts, ...pep, ...rooms, ...files, ...routes, ...ends]);
