// What can go wrong with a request: the server refuses it, or it never arrives.

export interface Complaint {
  readonly what: string;
  readonly where?: string;
  readonly got?: string;
  readonly do?: string;
}

/** The server answered, and said no. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly complaint: Complaint,
    /** On 412: the revision that is the head now. */
    readonly head: number | null = null,
    /** On 412: the revision under which what was sent is kept. */
    readonly kept: number | null = null,
  ) {
    super([complaint.what, complaint.do].filter(Boolean).join(" — "));
  }
}

/** No answer: the server is down, the network is away, or it gave up half way. */
export class Unreachable extends Error {}

export async function refusal(response: Response): Promise<Refused | Unreachable> {
  if ([502, 503, 504].includes(response.status)) return new Unreachable(`the server answered ${response.status}`);
  const body = await response.json().catch(() => ({}));
  const complaint = body.error ?? { what: `The server answered ${response.status}.` };
  return new Refused(response.status, complaint, body.head ?? null, body.kept ?? null);
}

export function explain(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
