// The review server, call by call; one method a line of its contract.
import { Box, boxText } from "../voxels/box";
import type { Sent } from "../voxels/parcel";
import { refusal, Unreachable } from "./errors";
import type { CaseInfo, Decision, Progress, QueueFilter, QueueItem, Revision, Session, Task, ToolName, Undone } from "./types";

/** Voxels that travel: gzip of the box's bytes; outside the box there is nothing. */
export interface Parcel {
  readonly box: Box;
  readonly gzip: ArrayBuffer;
}

/** A write: over which revision, and a key that makes sending it twice harmless. */
export interface Write {
  readonly base: number;
  readonly key: string;
  readonly activeSeconds: number;
  readonly note: string;
}

export interface Draft {
  readonly gzip: ArrayBuffer;
  readonly box: string;
  readonly base: number;
}

export type Fetcher = (url: string, init?: RequestInit) => Promise<Response>;

export class ReviewServer {
  private xsrf = "";

  constructor(private readonly fetcher: Fetcher = (url, init) => fetch(url, init)) {}

  async session(): Promise<Session> {
    const session: Session = await this.json("session");
    this.xsrf = session.xsrf;
    return session;
  }

  queue(filter: QueueFilter, limit = 50): Promise<{ items: QueueItem[]; progress: Progress }> {
    const wanted = Object.entries(filter).filter(([, value]) => value);
    return this.json(`queue?${new URLSearchParams([...wanted, ["limit", String(limit)]])}`);
  }

  progress(): Promise<Progress> {
    return this.json("progress");
  }

  /** Sending it twice is harmless. */
  async undoEdit(edit: number): Promise<Undone> {
    return (await this.send(`edits/${edit}/undo`, "POST")).json();
  }

  async dismissEdit(edit: number): Promise<void> {
    await this.send(`edits/${edit}/dismissal`, "POST");
  }

  caseInfo(task: Task): Promise<CaseInfo> {
    const { revision, organ } = task;
    return this.json(`cases/${task.case}${revision === undefined ? "" : `?organ=${organ}&revision=${revision}`}`);
  }

  image(id: string): Promise<ArrayBuffer> {
    return this.bytes(`cases/${id}/image`);
  }

  async mask(task: Task, revision?: number): Promise<Sent> {
    const which = revision === undefined ? "" : `?revision=${revision}`;
    const response = await this.send(`cases/${task.case}/boxes/${task.organ}${which}`);
    const [box, shape] = ["X-Box", "X-Shape"].map((name) => response.headers.get(name) ?? "");
    return { gzip: await bodyOf(response), box, shape };
  }

  uncertainty(task: Task): Promise<ArrayBuffer> {
    return this.bytes(`cases/${task.case}/uncertainty/${task.organ}`);
  }

  async history(task: Task): Promise<Revision[]> {
    const upTo = task.revision === undefined ? "" : `?revision=${task.revision}`;
    return (await this.json<{ revisions: Revision[] }>(`cases/${task.case}/history/${task.organ}${upTo}`)).revisions;
  }

  async decide(task: Task, decision: Decision, write: Write): Promise<Revision> {
    const body = { decision, note: write.note, active_seconds: write.activeSeconds };
    const response = await this.send(`cases/${task.case}/decisions/${task.organ}`, "POST", JSON.stringify(body), {
      ...writeHeaders(write),
      "Content-Type": "application/json",
    });
    return response.json();
  }

  async saveMask(task: Task, parcel: Parcel, write: Write): Promise<Revision> {
    const query = new URLSearchParams({ box: boxText(parcel.box), active_seconds: String(write.activeSeconds) });
    if (write.note) query.set("note", write.note);
    const path = `cases/${task.case}/masks/${task.organ}?${query}`;
    return (await this.send(path, "PUT", parcel.gzip, { ...writeHeaders(write), ...GZIP })).json();
  }

  async draft(task: Task): Promise<Draft> {
    const response = await this.send(`cases/${task.case}/drafts/${task.organ}`);
    const box = response.headers.get("X-Box") ?? "";
    return { gzip: await response.arrayBuffer(), box, base: Number(response.headers.get("X-Base-Revision")) };
  }

  async keepDraft(task: Task, parcel: Parcel, base: number): Promise<void> {
    const path = `cases/${task.case}/drafts/${task.organ}?box=${boxText(parcel.box)}`;
    await this.send(path, "PUT", parcel.gzip, { "If-Match": `"${base}"`, ...GZIP });
  }

  async dropDraft(task: Task): Promise<void> {
    await this.send(`cases/${task.case}/drafts/${task.organ}`, "DELETE");
  }

  async tool(task: Task, tool: ToolName, parcel: Parcel, options: Readonly<Record<string, string>>): Promise<Omit<Draft, "base">> {
    const query = new URLSearchParams({ box: boxText(parcel.box), ...options });
    const response = await this.send(`cases/${task.case}/tools/${tool}?${query}`, "POST", parcel.gzip, GZIP);
    return { gzip: await response.arrayBuffer(), box: response.headers.get("X-Box") ?? "" };
  }

  async lease(task: Task, seconds: number): Promise<void> {
    const body = JSON.stringify({ seconds });
    await this.send(`cases/${task.case}/leases/${task.organ}`, "POST", body, { "Content-Type": "application/json" });
  }

  private async json<T>(path: string): Promise<T> {
    return (await this.send(path)).json();
  }

  private async bytes(path: string): Promise<ArrayBuffer> {
    return bodyOf(await this.send(path));
  }

  private async send(path: string, method = "GET", body: BodyInit | null = null, headers: Record<string, string> = {}) {
    const all = method === "GET" ? headers : { ...headers, "X-XSRF-Token": this.xsrf };
    const init: RequestInit = { method, body, headers: all, credentials: "same-origin" };
    const response = await this.fetcher(`api/${path}`, init).catch((error: unknown) => {
      throw new Unreachable(String(error));
    });
    if (!response.ok) throw await refusal(response);
    return response;
  }
}

function bodyOf(response: Response): Promise<ArrayBuffer> {
  return response.arrayBuffer().catch((error: unknown) => {
    throw new Unreachable(`the answer broke off: ${error}`);
  });
}

const GZIP = { "Content-Type": "application/octet-stream" };

function writeHeaders(write: Write): Record<string, string> {
  return { "If-Match": `"${write.base}"`, "Idempotency-Key": write.key };
}

/** A fresh key for one write (randomUUID needs https, this does not). */
export function freshKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
