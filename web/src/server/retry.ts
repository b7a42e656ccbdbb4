// Asking again until the server can be reached; what it refuses is not asked again.
import { Unreachable } from "./errors";

const WAITS_S = [1, 2, 4, 8];

export interface Line {
  /** Called when a request did not arrive, and when one does again. */
  readonly onLost: () => void;
  readonly onBack: () => void;
  readonly pause: (seconds: number) => Promise<void>;
}

export async function untilReached<T>(ask: () => Promise<T>, line: Line, giveUp: () => boolean = () => false): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      const answer = await ask();
      line.onBack();
      return answer;
    } catch (error) {
      if (!(error instanceof Unreachable)) line.onBack();
      if (!(error instanceof Unreachable) || giveUp()) throw error;
      line.onLost();
      await line.pause(WAITS_S[Math.min(attempt, WAITS_S.length - 1)]);
    }
  }
}
