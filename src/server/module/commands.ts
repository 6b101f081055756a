/** Ad-hoc commands (XEP-0050) of modules. */
import type { Maybe } from '../maybe.js';
import type { Element } from '../xml/element.js';
import type { Access, IqRequest, Target } from './requests.js';

/** An ad-hoc command (XEP-0050). */
export interface Command {
  readonly node: string;
  readonly name: string;
  readonly target: Target;
  readonly access: Access;
  /** Runs one step. `form` is the form submitted for this step; `state` is the result of the previous step. */
  run(step: CommandStep): Maybe<CommandResult>;
}

export interface CommandStep {
  readonly request: IqRequest;
  readonly action: 'execute' | 'next' | 'prev' | 'complete';
  readonly form: Element | undefined;
  readonly state: unknown;
}

export type CommandResult =
  | {
      readonly status: 'executing';
      /** For the next step: JSON, because the session may move to another node. */
      readonly state?: unknown;
      readonly actions?: readonly ('prev' | 'next' | 'complete')[];
      readonly payload: readonly Element[];
    }
  | {
      readonly status: 'completed';
      readonly payload?: readonly Element[];
      readonly note?: { readonly type: 'info' | 'warn' | 'error'; readonly text: string };
    };
