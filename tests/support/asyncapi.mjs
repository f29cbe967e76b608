// docs/asyncapi.yaml against what goes over NATS: every message of ours must be one that is written down, its payload and its reply as the schemas
// say. A schema keyword that is not understood is an error.
import assert from 'node:assert/strict';

import { Page } from './openapi.mjs';

export class AsyncApi extends Page {
  waiting = new Map(); // reply subject -> whose reply it will be
  failures = [];

  constructor() {
    super('asyncapi.yaml', 'asyncapi');
    this.channels = Object.entries(this.page.channels).map(([subject, channel]) => {
      const message = this.resolve((channel.publish ?? channel.subscribe).message);
      const spelled = (name) => this.resolve(channel.parameters[name].schema).enum?.join('|') ?? '[^.]+';
      const pattern = subject.replaceAll('.', '\\.').replace(/\{(\w+)\}/g, (_, name) => `(${spelled(name)})`);
      return { subject, message, matches: new RegExp(`^${pattern}$`) };
    });
  }

  // bus: of a user who may hear everything.
  listen(bus) {
    bus.subscribe('>', (message) => this.hear(message));
  }

  hear({ subject, reply, text }) {
    try {
      if (subject.startsWith('octroi.')) this.request(subject, reply, text);
      else if (this.waiting.has(subject)) this.answer(subject, text);
    } catch (error) {
      this.failures.push(error.message);
    }
  }

  request(subject, reply, text) {
    const channel = this.channels.find(({ matches }) => matches.test(subject));
    assert.ok(channel, `${subject} is not documented`);
    assert.equal(this.differs(JSON.parse(text), channel.message.payload), '', subject);
    this.met.add(channel.subject);
    if (reply && channel.message['x-reply']) this.waiting.set(reply, channel);
  }

  answer(subject, text) {
    const { subject: asked, message } = this.waiting.get(subject);
    this.waiting.delete(subject);
    const body = JSON.parse(text);
    const schema = body.error ? { $ref: '#/components/schemas/Error' } : message['x-reply'];
    assert.equal(this.differs(body, schema), '', `the reply to ${asked}`);
    if (!body.error) this.met.add(`${asked} ->`);
  }

  // Documented messages and replies that were not met.
  get unmet() {
    return this.channels.flatMap(({ subject, message }) => [subject, ...(message['x-reply'] ? [`${subject} ->`] : [])]).filter((one) => !this.met.has(one));
  }
}
