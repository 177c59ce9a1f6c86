#!/usr/bin/env node
// Hands events to trunkline's stream socket.
//
//   const producer = new Producer('/run/trunkline/events.sock');
//   const result = await producer.send('userPresenceEvents', { userId: … });
//   if (!result.accepted) console.error(result.message);
//   await producer.close();
//
//   waiting ──write──> unanswered ──answer──> done
//      ^                   │  └─ "again later" ─> again
//      └── connection lost, or all the rest answered ──┘
//
// What it keeps to
// - One line out, one answer back, in the same order. An event is forgotten when its answer has come, not
//   when it was written: after a lost connection all unanswered events go again, in their order.
// - Each event gets an eventId before it leaves, so trunkline stores none twice.
// - Events leave in the order of `send`. Once one has to go again, no later one is written before it.
// - At most `window` events are ahead of their answers, and at most `limit` are held in all.
// - It never logs an event.
//
// Node 18 or newer, no packages.

import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { pathToFileURL } from 'node:url';

const PAUSE_FIRST = 50; // ms, doubled up to PAUSE_MOST while nothing gets through
const PAUSE_MOST = 5000;

export class Producer {
  #path;
  #window;
  #limit;
  #log;
  #waiting = [];
  #unanswered = [];
  #again = [];
  #socket = null; // while connected
  #timer = null; // while pausing
  #pause = PAUSE_FIRST;
  #trouble = '';
  #closing = null; // the promise of `close`
  #closed = null; // resolves it

  /** `window`: trunkline reads at most `ingest.max_unacked` = 1024 lines ahead of its answers. */
  constructor(path = '/run/trunkline/events.sock', { window = 256, limit = 10_000, log = console.error } = {}) {
    this.#path = path;
    this.#window = window;
    this.#limit = limit;
    this.#log = log;
    this.#connect();
  }

  /**
   * Hands over one event. Resolves to `{ accepted, eventId, message }` when trunkline has it on its disk, or
   * has refused it for good; rejects if `limit` events wait already, or after `close`.
   */
  send(array, event) {
    if (this.#closed) return Promise.reject(new Error('the producer is closed'));
    if (this.#waiting.length + this.#unanswered.length + this.#again.length >= this.#limit) {
      return Promise.reject(new Error('too many events wait for trunkline'));
    }
    const eventId = event.eventId ?? randomUUID();
    const eventDateTime = event.eventDateTime ?? new Date().toISOString();
    const line = JSON.stringify({ [array]: [{ ...event, eventId, eventDateTime }] }) + '\n';
    return new Promise((resolve) => {
      this.#waiting.push({ eventId, line, resolve });
      this.#write();
    });
  }

  /** Takes no more; resolves when every event is answered. */
  close() {
    this.#closing ??= new Promise((resolve) => { this.#closed = resolve; });
    this.#endIfDone();
    return this.#closing;
  }

  #connect() {
    this.#timer = null;
    const socket = connect({ path: this.#path });
    let input = Buffer.alloc(0);
    let why = 'the connection is lost';
    socket.on('connect', () => {
      this.#socket = socket;
      this.#write();
      this.#endIfDone();
    });
    socket.on('data', (data) => {
      input = Buffer.concat([input, data]);
      let start = 0;
      for (let end; (end = input.indexOf(10, start)) >= 0; start = end + 1) {
        try {
          this.#takeAnswer(JSON.parse(input.toString('utf8', start, end)));
        } catch (error) {
          why = error.message;
          socket.destroy();
          return;
        }
      }
      input = input.subarray(start);
      this.#write();
      this.#endIfDone();
    });
    // 'close' comes after it.
    socket.on('error', (error) => { why = error.message; });
    socket.on('close', () => {
      this.#socket = null;
      clearTimeout(this.#timer);
      this.#rewind();
      if (this.#isOver()) return;
      this.#say(`${this.#path}: ${why}`);
      this.#later(() => this.#connect());
    });
  }

  // What waits, on its way out; nothing while an event has to go again.
  #write() {
    if (!this.#socket || this.#again.length > 0) return;
    const taken = this.#waiting.splice(0, this.#window - this.#unanswered.length);
    if (taken.length === 0) return;
    this.#unanswered.push(...taken);
    this.#socket.write(taken.map((event) => event.line).join(''));
  }

  // What one answer means for the oldest unanswered event. Throws if the connection is of no more use.
  #takeAnswer(answer) {
    const { errors, status, message } = answer;
    if (!errors && !status) throw new Error('an answer that is none');
    // Stands for the connection, not for an event: we may not connect, or too many are.
    if (status === 403 || status === 503) throw new Error(`turned away: ${message}`);
    const event = this.#unanswered.shift();
    if (!event) throw new Error('an answer to nothing');
    if (errors?.some((error) => error.retryable)) {
      this.#say(`refused for now: ${errors[0].message}`);
      this.#again.push(event);
    } else {
      this.#pause = PAUSE_FIRST;
      this.#trouble = '';
      event.resolve({
        accepted: errors?.length === 0,
        eventId: event.eventId,
        message: errors ? errors[0]?.message : message,
      });
    }
    if (this.#again.length > 0 && this.#unanswered.length === 0) {
      this.#later(() => {
        this.#timer = null;
        this.#rewind();
        this.#write();
      });
    }
  }

  // Everything unanswered waits again, in its order.
  #rewind() {
    this.#waiting = [...this.#again, ...this.#unanswered, ...this.#waiting];
    this.#again = [];
    this.#unanswered = [];
  }

  #later(what) {
    this.#timer = setTimeout(what, this.#pause);
    this.#pause = Math.min(this.#pause * 2, PAUSE_MOST);
  }

  #isOver() {
    return this.#closed && this.#waiting.length + this.#unanswered.length + this.#again.length === 0;
  }

  #endIfDone() {
    if (!this.#isOver()) return;
    this.#socket?.destroy(); // nothing is on its way any more
    clearTimeout(this.#timer);
    this.#closed();
  }

  // Says once why nothing gets through.
  #say(trouble) {
    if (trouble !== this.#trouble) this.#log(`${trouble}; trying again`);
    this.#trouble = trouble;
  }
}

/** A caller is connected, put on hold, taken back, and hangs up. */
function sampleCall() {
  const ids = { conversationId: randomUUID(), communicationId: randomUUID() };
  return [
    ['externalEstablishedEvents', {
      ...ids,
      ani: 'tel:+13175550143',
      dnis: 'tel:+18005550100',
      initialConfiguration: { inbound: true },
      sourceConfiguration: { sourceId: 'example', interactionId: 'node-1' },
    }],
    ['holdUpdatedEvents', { ...ids, held: true }],
    ['holdUpdatedEvents', { ...ids, held: false }],
    ['communicationEndedEvents', { ...ids, disconnectType: 'Peer' }],
  ];
}

async function main() {
  if (process.argv.length !== 3) {
    console.error('usage: producer.mjs SOCKET');
    process.exitCode = 64;
    return;
  }
  const producer = new Producer(process.argv[2]);
  for (const [array, event] of sampleCall()) {
    const result = await producer.send(array, event);
    console.log(array, result.eventId, result.accepted ? 'accepted' : result.message);
    if (!result.accepted) process.exitCode = 1;
  }
  await producer.close();
}

if (process.argv[1] && pathToFileURL(process.argv[1]).href === import.meta.url) await main();
